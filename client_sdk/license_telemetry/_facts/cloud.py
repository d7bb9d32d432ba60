"""The cloud provider of the machine, without use of the network."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

# (DMI field, how its value starts, provider), the first match counts
FIRMWARE_MARKS = (
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "azure"),
    ("chassis_asset_tag", "oraclecloud.com", "oracle_cloud"),
    ("chassis_asset_tag", "huaweicloud", "huawei_cloud"),
    ("chassis_asset_tag", "opentelekomcloud", "open_telekom_cloud"),
    ("chassis_vendor", "ibm:cloud compute server", "ibm_cloud"),
    ("sys_vendor", "amazon ec2", "aws"),
    ("bios_vendor", "amazon ec2", "aws"),
    ("product_name", "google compute engine", "gcp"),
    ("product_serial", "googlecloud-", "gcp"),
    ("sys_vendor", "alibaba cloud", "alibaba_cloud"),
    ("product_name", "alibaba cloud", "alibaba_cloud"),
    ("sys_vendor", "tencent cloud", "tencent_cloud"),
    ("sys_vendor", "huawei cloud", "huawei_cloud"),
    ("sys_vendor", "digitalocean", "digitalocean"),
    ("sys_vendor", "hetzner", "hetzner"),
    ("sys_vendor", "vultr", "vultr"),
    ("sys_vendor", "linode", "akamai_cloud"),
    ("sys_vendor", "akamai", "akamai_cloud"),
    ("sys_vendor", "scaleway", "scaleway_cloud"),
    ("sys_vendor", "upcloud", "upcloud"),
    ("sys_vendor", "exoscale", "exoscale"),
    ("product_name", "exoscale", "exoscale"),
    ("sys_vendor", "ovh", "ovh"),
    ("sys_vendor", "yandex", "yandex_cloud"),
    ("sys_vendor", "3ds outscale", "outscale"),
    ("sys_vendor", "cloudsigma", "cloudsigma"),
    ("product_name", "cloudsigma", "cloudsigma"),
    ("product_name", "cloudstack", "cloudstack"),
    ("product_name", "openstack", "openstack"),
    ("sys_vendor", "openstack", "openstack"),
    ("chassis_asset_tag", "openstack", "openstack"),
)  # fmt: skip

CLOUD_INIT_IDS = {
    "aws": "aws", "ec2": "aws", "gce": "gcp", "azure": "azure", "aliyun": "alibaba_cloud",
    "oracle": "oracle_cloud", "ibmcloud": "ibm_cloud", "tencentcloud": "tencent_cloud",
    "digitalocean": "digitalocean", "hetzner": "hetzner", "vultr": "vultr", "akamai": "akamai_cloud",
    "scaleway": "scaleway_cloud", "upcloud": "upcloud", "exoscale": "exoscale", "ovh": "ovh",
    "cloudsigma": "cloudsigma", "cloudstack": "cloudstack", "openstack": "openstack",
    "outscale": "outscale", "huaweicloud": "huawei_cloud",
}  # fmt: skip

ENVIRONMENT_MARKS = (
    ("ECS_CONTAINER_METADATA_URI_V4", "aws"),
    ("ECS_CONTAINER_METADATA_URI", "aws"),
    ("AWS_EXECUTION_ENV", "aws"),
    ("WEBSITE_INSTANCE_ID", "azure"),
    ("DYNO", "heroku"),
)


def provider(machine: Machine, dmi: dict[str, str]) -> str | None:
    """The provider's name from the firmware, from Xen, from cloud-init's record or from the environment."""
    return (
        _from_firmware(dmi)
        or _amazon_on_xen(machine, dmi)
        or _from_cloud_init(machine)
        or (_from_environment() if machine.live else None)
    )


def _from_firmware(dmi: dict[str, str]) -> str | None:
    for field, start, provider in FIRMWARE_MARKS:
        if dmi.get(field, "").lower().startswith(start):
            return provider
    return "gcp" if dmi.get("product_name") == "Google" else None  # a Chromebook's has the model's name


def _amazon_on_xen(machine: Machine, dmi: dict[str, str]) -> str | None:
    version = dmi.get("bios_version")
    if version:  # an HVM guest; here a uuid that happens to begin with ec2 proves nothing
        return "aws" if "amazon" in version.lower() else None
    uuid = machine.line("/sys/hypervisor/uuid") or ""
    return "aws" if uuid.lower().startswith("ec2") else None


def _from_cloud_init(machine: Machine) -> str | None:
    identifier = (machine.line("/run/cloud-init/cloud-id") or "").lower()
    # aws-china, azure-gov and their like are the same providers in other jurisdictions
    return CLOUD_INIT_IDS.get(identifier) or CLOUD_INIT_IDS.get(identifier.partition("-")[0])


def _from_environment() -> str | None:
    return next((provider for name, provider in ENVIRONMENT_MARKS if name in os.environ), None)
