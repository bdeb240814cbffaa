from __future__ import annotations

import shutil
from datetime import datetime, timezone

import pytest

from dicom_node.core.errors import SettingsError
from dicom_node.dimse.tls import TlsFiles, client_context, days_left, server_context
from tests.support.authority import Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


@pytest.mark.parametrize("days", [-1, 20, 20_000])
def test_days_left_are_those_of_the_certificate(authority, days):
    """20,000 days lead beyond 2049, where certificates write the year with four digits."""
    made = authority.sign(f"days{days}", days=days)
    assert days_left(made.certificate, datetime.now(timezone.utc)) == pytest.approx(days, abs=0.1)


def test_what_is_no_certificate_is_told_with_its_file(authority, tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nMAAw\n-----END CERTIFICATE-----\n")
    good = authority.sign("good")
    with pytest.raises(SettingsError, match=r"broken\.pem"):
        days_left(broken, datetime.now(timezone.utc))
    for make in (server_context, client_context):
        with pytest.raises(SettingsError, match=r"broken\.pem"):
            make(TlsFiles(broken, good.key, authority.own.certificate))
        with pytest.raises(SettingsError, match=r"missing\.pem"):
            make(TlsFiles(good.certificate, good.key, tmp_path / "missing.pem"))
        with pytest.raises(SettingsError, match="its key"):
            make(TlsFiles(good.certificate, authority.own.key, authority.own.certificate))
