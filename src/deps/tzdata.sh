# shellcheck shell=bash
# All zones, old names included; "slim" leaves out what a reader can compute from the rule at a file's end.
package=tzdata licence="LicenseRef-public-domain" toolchains=any

build() {
    PATH=$PATH:/usr/sbin zic -b slim -d "$out/zoneinfo" africa antarctica asia australasia europe northamerica \
        southamerica etcetera factory backward
    cp version "$out/zoneinfo/+VERSION"
}
