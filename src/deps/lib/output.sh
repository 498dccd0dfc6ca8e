# shellcheck shell=bash
# What the build of the binary reads: build/TOOLCHAIN/deps.mk (where each dependency stands) and sbom.json. And the
# check that two builds are the same.

# Quick when nothing changed: one hash over the recipes tells whether the last answer still holds.
prepare_deps() {
    local toolchain=$1 dir=$root/build/$1 deps key folder
    deps=$(deps_toolchain "$toolchain")
    key=$(cat "$root"/src/deps/*.sh "$root"/src/deps/lib/*.sh "$lock_file"; toolchain_id "$deps"; echo "$cache")
    key=$(sha256sum <<<"$key" | cut -d' ' -f1)
    if [ -f "$dir/deps.key" ] && [ "$(<"$dir/deps.key")" = "$key" ]; then
        while read -r folder; do
            [ -d "$folder" ] || break
        done <"$dir/deps.folders"
        [ -n "$folder" ] || return 0
    fi
    build_deps "$deps"
    mkdir -p "$dir"
    write_folders >"$dir/deps.folders"
    write_deps_mk >"$dir/deps.mk"
    write_sbom "$toolchain" >"$dir/sbom.json"
    echo "$key" >"$dir/deps.key"
}

write_folders() {
    local name
    for name in "${order[@]}"; do
        echo "${folder_of[$name]}"
    done
}

write_deps_mk() {
    local name folder
    echo "# Written by build.sh: the dependencies' folders."
    echo "DEPS_CACHE := $cache/deps"
    for name in "${order[@]}"; do
        folder=${folder_of[$name]}
        [ ! -d "$folder/include" ] || echo "DEPS_CPPFLAGS += -isystem $folder/include"
        [ ! -d "$folder/lib" ] || echo "DEPS_LDFLAGS += -L$folder/lib"
        [ ! -d "$folder/vendor" ] || echo "DEPS_VENDOR += $folder/vendor"
        [ ! -d "$folder/zoneinfo" ] || echo "DEPS_ZONEINFO := $folder/zoneinfo"
    done
}

# CycloneDX 1.5. Without a timestamp and a serial number, which would make every build another one.
write_sbom() {
    local toolchain=$1 name comma=''
    printf '{\n  "bomFormat": "CycloneDX",\n  "specVersion": "1.5",\n  "version": 1,\n'
    printf '  "metadata": {"component": {"type": "application", "name": "dbobs", "version": "%s", ' \
        "$(sed -n 's/^VERSION := //p' "$root/src/Makefile")"
    printf '"licenses": [{"expression": "Apache-2.0"}]}},\n  "components": ['
    for name in "${order[@]}"; do
        sbom_component "$name"
    done
    if [ "$toolchain" = musl ]; then
        sbom_musl
    fi
    printf '\n  ]\n}\n'
}

sbom_component() {
    local name=$1 package_name version hash='' files='' entry_package entry_version file sha
    load_recipe "$name"
    # The last read, which finds nothing, empties its variables.
    while read -r _ entry_package entry_version _ file sha; do
        package_name=$entry_package version=$entry_version
        case $file in *.orig.tar.*) hash=$sha ;; esac
        files+="${files:+, }{\"name\": \"dbobs:source:$file\", \"value\": \"sha256:$sha\"}"
    done < <(locked "$name")
    printf '%s\n    {"type": "library", "name": "%s", "version": "%s", ' "$comma" "${name//_/-}" "$version"
    printf '"purl": "pkg:deb/debian/%s@%s?arch=source", ' "$package_name" "${version//+/%2B}"
    printf '"hashes": [{"alg": "SHA-256", "content": "%s"}], "licenses": [{"expression": "%s"}], ' "$hash" "$licence"
    printf '"properties": [%s]}' "$files"
    comma=,
}

# The C library comes compiled from the host's package; the hash is that of the archive that was linked.
sbom_musl() {
    local version library
    version=$(dpkg-query -W -f '${Version}' musl-dev)
    library=$(musl-gcc -print-file-name=libc.a)
    printf ',\n    {"type": "library", "name": "musl", "version": "%s", ' "$version"
    printf '"purl": "pkg:deb/debian/musl@%s?arch=source", ' "$version"
    printf '"hashes": [{"alg": "SHA-256", "content": "%s"}], ' "$(sha256sum <"$library" | cut -d' ' -f1)"
    printf '"licenses": [{"expression": "MIT"}]}'
}

# Two clones of this commit in folders of different length, sharing nothing but the downloads.
check_reproducible() {
    local work side sums=()
    work=$(scratch reproducible)
    for side in a/dbobs another/place/of/the-clone; do
        git clone -q "$root" "$work/$side"
        mkdir -p "$work/$side.cache"
        cp -r "$sources" "$work/$side.cache/sources"
        DBOBS_CACHE=$work/$side.cache "$work/$side/build.sh" musl >&2
        sums+=("$(sha256sum <"$work/$side/build/dbobs")" "$(sha256sum <"$work/$side/build/dbobs.debug")")
    done
    [ "${sums[0]}" = "${sums[2]}" ] || die "two builds of this commit differ"
    [ "${sums[1]}" = "${sums[3]}" ] || die "two builds of this commit differ in their debug symbols"
    say "two builds of this commit are identical: ${sums[0]%% *}"
}
