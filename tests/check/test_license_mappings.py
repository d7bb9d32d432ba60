"""Files of other systems, in our columns."""

import io
import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.licenses.files import KNOWN, LicenseFile
from telemetry_server.check.licenses.mappings import MAPPINGS, MappingName, left_out
from telemetry_server.check.licenses.rows import RowFormat, WrongFile
from telemetry_server.model import UNSET, LicenseRow

WHMCS = (
    "licensekey,status,validdomain,validip,validdirectory,regdate,nextduedate,termination_date,billingcycle,"
    "firstname,lastname,companyname,email,tax_id,ordernum,serviceid,product,reissues,lastaccess\n"
)
ENVATO = "Purchase Code,Item Name,Item ID,Buyer,Sold At,License,Supported Until,Amount\n"


TODAY = date(2026, 11, 22)


def imported(text, mapping, form=RowFormat.CSV, **options):
    file = LicenseFile(io.BytesIO(text.encode()), form, mapping, today=TODAY, **options)
    return list(file), file


def whmcs(**cells):
    """The one row of a WHMCS export with these cells."""
    row = ",".join(f'"{cells.get(name, "")}"' for name in WHMCS.strip().split(","))
    [found], _ = imported(WHMCS + row, MappingName.WHMCS)
    return found


def test_a_whmcs_license_is_a_direct_one_with_its_places_and_its_client():
    found = whmcs(
        licensekey="Leased-1a2b3c",
        status="Active",
        validdomain="example.com,www.example.com",
        validip="192.0.2.7",
        validdirectory="/home/ann/public_html",
        regdate="2025-03-01",
        nextduedate="2027-03-01",
        billingcycle="Annually",
        firstname="Ann",
        lastname="Lee",
        companyname="ACME",
        email="ann@example.com",
        ordernum="4711",
        serviceid="17",
        reissues="2",
    )
    assert found.key == "Leased-1a2b3c"
    patch = found.patch
    assert (patch.status, patch.type, patch.source) == ("active", "subscription", "direct")
    assert patch.domains == ("example.com", "www.example.com")
    assert (patch.addresses, patch.directories) == (("192.0.2.7",), ("/home/ann/public_html",))
    assert f"{patch.starts_at:%F} {patch.expires_at:%F}" == "2025-03-01 2027-03-01"
    assert (patch.customer.name, patch.customer.company) == ("Ann Lee", "ACME")
    assert (patch.order_reference, patch.custom["whmcs_service"]) == ("4711", "17")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("Active", "active"), ("Reissued", "active"), ("Suspended", "suspended")]
)
def test_the_states_of_whmcs_are_ours(theirs, ours):
    assert whmcs(licensekey="A", status=theirs).patch.status == ours


def test_what_is_expired_at_whmcs_is_so_by_its_date():
    ended = whmcs(licensekey="A", status="Expired", nextduedate="2027-01-01", termination_date="2026-05-01")
    assert (ended.patch.status, f"{ended.patch.expires_at:%F}") == ("active", "2026-05-01")
    due = whmcs(licensekey="A", status="Expired", nextduedate="2026-01-01", termination_date="0000-00-00")
    assert f"{due.patch.expires_at:%F}" == "2026-01-01"
    [problem] = whmcs(licensekey="A", status="Expired", nextduedate="0000-00-00")
    assert problem.column == "status"
    assert "nextduedate or termination_date" in problem.detail
    [problem] = whmcs(licensekey="A", status="Expired", nextduedate="2027-11-01")
    assert problem.column == "status"
    assert "2027-11-01 is still to come; add termination_date" in problem.detail


def test_addresses_of_whmcs_are_enforced_only_where_that_is_asked_for():
    def enforced(head, cell, **options):
        [found], _ = imported(f"licensekey,{head}\nA,{cell}\n", MappingName.WHMCS, **options)
        return found.patch.addresses_enforced

    assert enforced("validip", "192.0.2.7") is False
    assert enforced("validip", "192.0.2.7", enforce_addresses=True) is True
    assert enforced("validip,addresses_enforced", "192.0.2.7,true") is True
    assert enforced("status", "Active") is UNSET


def test_other_states_are_refused_in_words():
    [problem] = whmcs(licensekey="A", status="Fraud")
    assert (problem.column, "none of active" in problem.detail) == ("status", True)


def test_what_was_paid_once_is_purchased_and_has_no_end():
    patch = whmcs(licensekey="A", billingcycle="One Time", nextduedate="0000-00-00").patch
    assert (patch.type, patch.expires_at) == ("purchased", None)


def test_columns_of_no_use_are_left_out_and_named():
    _, file = imported(f"{WHMCS}A{',' * 18}", MappingName.WHMCS)
    assert file.left_out == ["reissues", "lastaccess"]


def test_an_envato_sale_is_a_license_of_the_marketplace():
    [found], file = imported(
        f"{ENVATO}86781236-23d0-4b3c-7dfa-c1c147e0dece,ACME,17,ann,2016-09-07T10:54:28+10:00,"
        "Extended License,2017-03-09T01:54:28+11:00,19.84\n",
        MappingName.ENVATO,
    )
    patch = found.patch
    assert found.key == "86781236-23d0-4b3c-7dfa-c1c147e0dece"
    assert (patch.source, patch.source_detail) == ("marketplace", "codecanyon")
    assert f"{patch.starts_at:%F %T}" == "2016-09-07 00:54:28"
    assert (patch.customer.name, patch.customer.account) == ("ann", "envato:ann")
    assert patch.custom["envato_license"] == "Extended License"
    assert patch.expires_at is UNSET  # support that ends is no license that ends
    assert file.left_out == []


def test_the_answers_of_the_envato_api_are_taken_as_ndjson():
    sale = {
        "code": "C",
        "sold_at": "2016-09-07T10:54:28+10:00",
        "item": {"name": "ACME", "site": "themeforest.net"},
    }
    [found], _ = imported(json.dumps(sale), MappingName.ENVATO, RowFormat.NDJSON)
    assert found.patch.source_detail == "themeforest"
    assert found.patch.custom == {"envato_item": "ACME"}


def test_a_column_of_ours_says_otherwise():
    [found], _ = imported("code,source,source_detail,seats\nC,reseller,Partner,1\n", MappingName.ENVATO)
    assert (found.patch.source, found.patch.source_detail, found.patch.seats) == ("reseller", "Partner", 1)


def test_a_file_without_the_keys_is_refused():
    with pytest.raises(WrongFile, match="must name key"):
        imported("buyer,item\na,b\n", MappingName.ENVATO)


@pytest.mark.parametrize("name", MappingName)
def test_every_column_of_a_mapping_is_one_of_ours(name):
    ours = {column for column, _ in MAPPINGS[name].columns.values()} | set(MAPPINGS[name].defaults)
    assert {
        column for column in ours if column and column not in KNOWN and not column.startswith("custom.")
    } == set()
    assert left_out(MAPPINGS[name], dict.fromkeys(MAPPINGS[name].columns, ""), KNOWN) == []


@given(
    st.sampled_from(MappingName),
    st.dictionaries(
        st.sampled_from(["licensekey", "code", "status", "nextduedate", "item", "regdate", "firstname"]),
        st.text() | st.none() | st.integers() | st.dictionaries(st.text(), st.text(), max_size=2),
    ),
)
def test_any_cells_are_a_record_or_problems(mapping, cells):
    for found in imported(json.dumps(cells), mapping, RowFormat.NDJSON)[0]:
        assert isinstance(found, LicenseRow) or found
