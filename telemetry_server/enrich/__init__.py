"""What the server knows beyond a ping.

steps                            the steps of the pipeline that add it
places/                          country, network and hosting of an address
verdict                          what the license registry says of a copy's claim
lifecycle                        new, active, late, lost, returned
"""
