# shellcheck shell=bash
# Gets the dependencies' sources from Debian's source packages, with a private apt configuration, so that the system's
# is neither changed nor needed to have deb-src lines. Every file is verified twice: by apt against Debian's signed
# index, and against the sha256 in the committed lock file.
#
# Lock file, one source file a line: name package version suite file sha256

lock_file=$root/src/deps/lock
sources=$cache/sources

# Debian's main archive as the system's own apt has it: whatever the format of its lists, whatever the mirror.
debian_mirror() {
    if [ -n "${DBOBS_DEBIAN_MIRROR:-}" ]; then
        echo "$DBOBS_DEBIAN_MIRROR"
        return
    fi
    local uri
    uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
        awk '$3 == "main" && $2 ~ /^(bookworm|trixie|forky|duke|sid|stable|testing|oldstable|unstable)$/ { print $1; exit }')
    [ -n "$uri" ] || die "apt has no Debian archive configured: give its address in DBOBS_DEBIAN_MIRROR"
    echo "$uri"
}

private_apt() {
    local command=$1 dir=$cache/apt
    shift
    "$command" -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$dir/state" -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 -qq "$@"
}

# Refreshes the private index, once for each run of this script.
private_apt_ready=
private_apt_update() {
    [ -z "$private_apt_ready" ] || return 0
    local dir=$cache/apt mirror suite
    mirror=$(debian_mirror)
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/state"
    for suite in trixie bookworm; do
        echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$dir/sources.list"
    private_apt apt-get update >&2 || die "apt cannot read Debian's source index (see above)"
    private_apt_ready=yes
}

# download_source PACKAGE VERSION DIR: the original tarball, and Debian's patches when the mirror has them (some
# mirrors keep only the original of some packages). Leaves nothing else in DIR.
download_source() {
    local package=$1 version=$2 dir=$3
    (
        cd "$dir"
        private_apt apt-get source --download-only --only-source "$package=$version" >log 2>&1 ||
            private_apt apt-get source --download-only --only-source --tar-only "$package=$version" >>log 2>&1 || {
            cat log >&2
            exit 1
        }
        rm -f log ./*.dsc ./*.asc
    )
}

locked() { # locked NAME: its lines
    grep "^$1 " "$lock_file" || die "src/deps/lock does not know '$1': run 'make update-deps'"
}

is_sha256() { # is_sha256 FILE SHA256
    [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status
}

# Brings the locked files of each NAME into the cache.
fetch_sources() {
    local name
    mkdir -p "$sources"
    for name in "$@"; do
        fetch_source "$name"
    done
}

fetch_source() {
    local name=$1 lines package version file sha missing='' tmp
    lines=$(locked "$name")
    read -r _ package version _ <<<"$lines"
    while read -r _ _ _ _ file sha; do
        is_sha256 "$sources/$file" "$sha" || missing=yes
    done <<<"$lines"
    [ -n "$missing" ] || return 0
    private_apt_update
    say "fetching $package $version"
    tmp=$(scratch fetch)
    download_source "$package" "$version" "$tmp" ||
        die "$package $version, as locked in src/deps/lock, is no longer offered: run 'make update-deps'"
    while read -r _ _ _ _ file sha; do
        [ -f "$tmp/$file" ] || die "$file of $package $version is no longer offered: run 'make update-deps'"
        is_sha256 "$tmp/$file" "$sha" || die "$file is not the one in src/deps/lock (sha256 differs)"
        mv "$tmp/$file" "$sources/$file"
    done <<<"$lines"
}

# unpack_source NAME DIR: original tarball plus Debian's patches (its security fixes are among them).
unpack_source() {
    local name=$1 dir=$2 file patch inner
    while read -r _ _ _ _ file _; do
        case $file in
            *.orig.tar.*)
                mkdir -p "$dir.raw"
                tar -xf "$sources/$file" -C "$dir.raw" --no-same-owner
                # Most tarballs hold one folder, tzdata's holds the files themselves.
                inner=("$dir.raw"/*)
                [ ${#inner[@]} = 1 ] || inner=("$dir.raw")
                mv "${inner[0]}" "$dir"
                ;;
        esac
    done < <(locked "$name")
    while read -r _ _ _ _ file _; do
        case $file in
            *.debian.tar.*) tar -xf "$sources/$file" -C "$dir" --no-same-owner ;;
        esac
    done < <(locked "$name")
    [ -f "$dir/debian/patches/series" ] || return 0
    while read -r patch _; do
        case $patch in '' | '#'*) continue ;; esac
        patch -d "$dir" -p1 -s -f -i "$dir/debian/patches/$patch" >&2 || die "$name: $patch does not apply"
    done <"$dir/debian/patches/series"
}

# Writes the lock file anew: the newest version of each source package in its recipe's suite that the mirror has.
update_lock() {
    local name tmp new version file
    private_apt_update
    mkdir -p "$sources"
    new=$(scratch lock)/lock
    for name in $(recipe_names); do
        tmp=$(scratch fetch)
        load_recipe "$name"
        while read -r version; do
            if download_source "$package" "$version" "$tmp" 2>/dev/null; then
                break
            fi
        done < <(offered_versions "$package" "$suite")
        [ -n "$(ls "$tmp")" ] || die "the mirror offers no source of $package in $suite"
        for file in "$tmp"/*; do
            echo "$name $package $version $suite ${file##*/} $(sha256sum <"$file" | cut -d' ' -f1)"
            mv "$file" "$sources/"
        done >>"$new"
        say "$package $version"
    done
    LC_ALL=C sort "$new" >"$lock_file"
}

offered_versions() { # offered_versions PACKAGE SUITE: newest first
    private_apt apt-cache madison "$1" |
        awk -F ' *[|] *' -v suite="$2/" 'index($3, suite) && / Sources$/ { print $2 }' | sort -rVu
}
