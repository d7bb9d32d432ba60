"""Values that identify no machine: placeholders of serial numbers, UUIDs and MAC addresses.

A value is a placeholder when it consists of words like these, of repetition and of counting only. By
chance that happens to one random serial number of six digits in 250, of ten in 40,000, and to no UUID;
it costs that machine one part of its fingerprint.
"""

from __future__ import annotations

THERE_IS_NONE = """
    none null string empty blank nil void not no na unknown unknow undefined undef uninitialized invalid
    missing absent present available applicable specified set settable provided assigned programmed reserved
    default standard to be filled by in here enter insert your this the of for value data dummy fake test
    sample example eval evaluation demo placeholder todo tbd"""
WHAT_IT_WOULD_BE = """
    oem system product chassis enclosure base board baseboard mainboard motherboard logic computer computers
    server device model name version type part serial number numb num asset tag uuid guid id sn mb sys pc
    manufacturer customer user"""
MANUFACTURERS = """
    inc ltd corp corporation co international american megatrends ami phoenix award insyde tulip acer asrock
    asus asustek dell foxconn fujitsu gigabyte intel lenovo micro star msi supermicro iatpass"""
HEXADECIMAL = "dead beef cafe babe decaf feed face f00d"
WORDS = sorted(
    f"{THERE_IS_NONE} {WHAT_IT_WOULD_BE} {MANUFACTURERS} {HEXADECIMAL}".split(),
    key=len,
    reverse=True,  # "unknown" before "no"
)
ORDER = "0123456789abcdefghijklmnopqrstuvwxyz"
TYPED = ("123456", "654321")
# Documented as common to many machines, and nothing in them shows it.
SHARED_UUIDS = frozenset(
    ["03000200040005000006000700080009", "00020003000400050006000700080009",  # AMI's default
     "4c4c454400002010802080c04f202020",  # Dell without a service tag
     "6ab5b300538d10149fb5b0684d007b53"]  # found by inventory systems
)  # fmt: skip
LONG, FEW, PAIR = 16, 4, 2

# What an address begins with when other machines have the same one.
SHARED_ADDRESSES = (
    "02:42:", "42:01:", "02:fc:", "aa:fc:",  # from a private address: Docker, Google Cloud, Firecracker
    "52:54:00:12:34:5",  # QEMU's default
    "00:50:56:c0:", "0a:00:27:", "fe:ff:ff:ff:ff:",  # the host's side of VMware, VirtualBox and Xen
    "02:00:4c:4f:4f:50", "20:41:53:59:4e:", "24:b6:20:52:41:53", "50:50:54:50:30:30",  # Windows' own
    "02:00:4e:43:50:49", "00:05:9a:3c:7", "00:0b:ca:fe:",  # VPN clients: NCP, Cisco, Juniper
    "00:09:0f:fe:", "00:09:0f:aa:",  # and Fortinet
    "02:80:37:ec:02:", "0c:5b:8f:27:9a:64",  # modems: Ericsson, Huawei
    "d2:0a:2d:a0:04:be", "d2:6b:25:2f:2c:e7", "e2:e6:16:20:0a:35",  # IP over FireWire
)  # fmt: skip
HEX_DIGITS = frozenset("0123456789abcdef")
MAC_DIGITS, MAC_COLONS, MAKER_DIGITS = 12, 5, 6


def is_placeholder(value: str) -> bool:
    """Whether a serial number, a UUID or a name says nothing of the machine; an empty one does not."""
    rest = "".join(filter(str.isalnum, value.lower()))
    if is_shared_uuid(rest) or _is_evenly_spaced(rest):
        return True
    rest = _without_words(value.lower())
    a_pair = rest.isdigit() and len(set(rest)) == PAIR  # as 0110100
    return a_pair or _counts(rest) or _repeats(rest)


def _without_words(text: str) -> str:
    for within in "./":  # o.e.m., n/a
        text = text.replace(within, "")
    text = "".join(character if character.isalnum() else " " for character in text)
    for word in WORDS:
        text = text.replace(word, "")
    return text.replace(" ", "")


def is_shared_uuid(digits: str) -> bool:
    """Whether 32 hexadecimal digits without hyphens are a known default, or hardly differ."""
    return digits in SHARED_UUIDS or (len(digits) >= LONG and len(set(digits)) <= FEW)


def is_shared_address(address: str) -> bool:
    """Whether a MAC address in lower case is not one card's own; what is no MAC address is not either."""
    digits = address.replace(":", "")
    if address.count(":") != MAC_COLONS or len(digits) != MAC_DIGITS or not HEX_DIGITS.issuperset(digits):
        return True
    of_a_group = int(digits[:2], 16) & 1
    return (
        bool(of_a_group)
        or digits.startswith("0000", MAKER_DIGITS)  # numbered by hand
        or address.startswith(SHARED_ADDRESSES)
        or is_placeholder(digits)
    )


def _is_evenly_spaced(digits: str) -> bool:
    """Octets with the same distance, in any order: 00 11 22 33 44 55, or 03 02 01 00 05 04 07 06."""
    if len(digits) < MAC_DIGITS or len(digits) % 2 or not HEX_DIGITS.issuperset(digits):
        return False
    octets = sorted(bytes.fromhex(digits))
    distance = octets[1] - octets[0]
    return bool(distance) and octets == list(range(octets[0], octets[-1] + 1, distance))


def _counts(text: str) -> bool:
    """Digits that stay or go up by one, or stay or go down, as 0123, 112233, 9876; 0 follows 9."""
    steps = set(map(_step, text, text[1:]))
    return steps <= {0, 1} or steps <= {0, -1} or any(run in text for run in TYPED)


def _step(first: str, second: str) -> int | None:
    if first + second in ("90", "09"):
        return 1 if second == "0" else -1
    return ORDER.index(second) - ORDER.index(first) if first in ORDER and second in ORDER else None


def _repeats(text: str) -> bool:
    """The same part at least twice and nothing else, as 0101010 or abcabc."""
    return any(text.startswith(text[period:]) for period in range(1, len(text) // 2 + 1))
