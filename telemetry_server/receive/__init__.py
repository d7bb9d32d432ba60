"""The intake of bytes, before anything in them is believed.

connections fast_path            sockets; uploads that arrive whole are read without aiohttp
capacity limiter slow_lane       limits of the process, of a sender, of long uploads
address body signature           the client's address, the bytes of a request, who signed them
pings enroll webhook routes      what is answered: uploads, enrolments, messages of a shop
refusal                          the last answer of a connection that made no request
"""
