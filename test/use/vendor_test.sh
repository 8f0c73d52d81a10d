#!/bin/sh
# Goal: each way to bring Ashlar into a project works, in a path with spaces: a copied header, a
# git submodule, make install with pkg-config, CMake's add_subdirectory, find_package and
# FetchContent, a Meson subproject and dependency. The three installers install the same files; make
# uninstall removes them and nothing else.
# Method: for each way, a project with the small programs beside this script (vendor/ is that
# project) is built against a copy of this repository, and each program is run.
#
#   test/use/vendor_test.sh WORKDIR
# shellcheck disable=SC1003,SC1091,SC2086,SC2153,SC2317  # lists; functions that try runs
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
mkdir 'a work directory' && cd 'a work directory' || exit 2
work=$PWD
umask 022
unset DESTDIR PREFIX PKG_CONFIG_PATH PKG_CONFIG_LIBDIR MAKEFLAGS MAKEOVERRIDES MFLAGS
programs='slab_pool slab_store overflow fixedpool bufpool'
headers='slab.h overflow.h fixedpool.h bufpool.h'
version=$(sed -n 's/^version *= *//p' "$root/Makefile")
: >out
: >err

macro_of() { echo "${1%%_*}_IMPLEMENTATION" | tr '[:lower:]' '[:upper:]'; }
new_project() { # folder: the sources of a user's project
    rm -rf "$1"
    mkdir "$1"
    cp "$root"/test/use/vendor/* "$1"
    for program in $programs; do cp "$root/test/use/$program.c" "$1"; done
}
build_by_hand() { # project, options...: by the compiler alone
    project=$1
    shift
    for program in $programs; do
        $CC -std=c11 $CFLAGS "-D$(macro_of "$program")" "$@" "$project/$program.c" \
            -o "$project/$program" || return 1
    done
}
run_programs() { # way, folder of the programs
    for program in $programs; do try "$1: $program runs" "$2/$program"; done
}
files_of() { # folder: mode of each file in it, and checksum, but for what names the prefix
    (cd "$1" && find . -type f -exec stat -c '%a %n' {} + && find . -type f ! -name '*.pc' \
        -exec cksum {} +) | LC_ALL=C sort
}
installs_only_itself() { # root of an installation of the user's project
    [ "$(cd "$1" && find . -type f | sed 's|.*/||')" = slab_pool ]
}

# What a user clones. A copy, so that no test writes into this tree.
copy_repository() {
    mkdir ashlar && cp -R "$root/docs" ashlar || return 1
    for file in $headers README.md CHANGELOG.md LICENSE Makefile CMakeLists.txt meson.build; do
        cp "$root/$file" ashlar || return 1
    done
    chmod -R u=rwX,go=rX ashlar
}

# ---- Copy and submodule ----

test_copy() {
    new_project copied
    for header in $headers; do cp "$root/$header" copied; done
    try 'copy: builds' build_by_hand copied
    run_programs copy ./copied
}

git_here() { # git that reads no configuration of the user
    HOME=$work GIT_CONFIG_NOSYSTEM=1 git -c user.name=user -c user.email=user@localhost \
        -c init.defaultBranch=main -c protocol.file.allow=always "$@"
}
add_submodule() {
    cp -R ashlar published && git_here -C published init -q && git_here -C published add . &&
        git_here -C published commit -q -m published && git_here -C project init -q &&
        git_here -C project submodule --quiet add "$work/published" third_party/ashlar
}
test_submodule() {
    need git git || return
    new_project project
    try 'submodule: is added' add_submodule
    try 'submodule: builds' build_by_hand project -Iproject/third_party/ashlar
    run_programs submodule ./project
}

# ---- make install ----

build_by_pkg_config() {
    cflags=$(pkg-config --cflags ashlar) || return 1
    eval "set -- $cflags" # pkg-config quotes for the shell
    build_by_hand project "$@"
}
has_value() { [ "$("$@" | tr -d '\\')" = "$value" ]; }
test_make_install() {
    try 'make install: succeeds' make -s -C ashlar install "PREFIX=$work/a prefix"
    new_project project
    sed 's|^#include "\(.*\)"|#include <ashlar/\1>|' project/slab_pool.c >project/angle.c
    try 'make install: <ashlar/slab.h> is found' $CC -std=c11 -DSLAB_IMPLEMENTATION \
        -isystem "$work/a prefix/include" project/angle.c -o project/angle
    files_of 'a prefix' >by_make
    need pkg-config pkg-config || return
    PKG_CONFIG_PATH="$work/a prefix/lib/pkgconfig"
    export PKG_CONFIG_PATH
    try 'pkg-config: the file is valid' pkg-config --validate ashlar
    value=$version
    try "pkg-config: version is $version" has_value pkg-config --modversion ashlar
    value="$work/a prefix"
    try 'pkg-config: prefix' has_value pkg-config --variable=prefix ashlar
    value="$work/a prefix/include"
    try 'pkg-config: includedir' has_value pkg-config --variable=includedir ashlar
    try 'pkg-config: has a URL' grep -qx 'URL: https://.*' "$PKG_CONFIG_PATH/ashlar.pc"
    try 'pkg-config: builds' build_by_pkg_config
    run_programs pkg-config ./project
    unset PKG_CONFIG_PATH
}

# Files of others in all folders, then install and uninstall.
test_uninstall() {
    for folder in include/ashlar lib/pkgconfig share/doc/ashlar/docs; do
        mkdir -p "staged/opt/$folder"
        echo foreign >"staged/opt/$folder/foreign"
    done
    echo foreign >staged/opt/share/doc/ashlar/NOTES
    files_of staged >before
    try 'uninstall: install beside files of others' \
        make -s -C ashlar install PREFIX=/opt "DESTDIR=$work/staged"
    try 'uninstall: succeeds' make -s -C ashlar uninstall PREFIX=/opt "DESTDIR=$work/staged"
    files_of staged >after
    try 'uninstall: leaves exactly the files of others' diff before after
    try 'uninstall: a second time' make -s -C ashlar uninstall PREFIX=/opt "DESTDIR=$work/staged"
    cp -R 'a prefix' whole
    try 'uninstall: all' make -s -C ashlar uninstall "PREFIX=$work/whole"
    find whole -type f >left
    find whole -name 'ashlar*' >>left
    try 'uninstall: leaves no file and no folder of its own' diff /dev/null left
}

# ---- CMake ----

cmake_project() { # project, options...: configures and builds it in project/build
    project=$1
    shift
    cmake -S "$project" -B "$project/build" "$@" && cmake --build "$project/build"
}
cmake_way() { # way, options...
    way=$1
    shift
    new_project project
    try "CMake $way: builds" cmake_project project "-DWAY=$way" "$@"
    run_programs "CMake $way" ./project/build
    try "CMake $way: install" cmake --install project/build --prefix "$work/only $way"
    check "CMake $way: installs the program alone" installs_only_itself "only $way"
}
cmake_install() {
    cmake -S ashlar -B cmake-build "-DCMAKE_INSTALL_PREFIX=$work/elsewhere" \
        -DCMAKE_INSTALL_LIBDIR=lib && cmake --install cmake-build --prefix "$work/cmake prefix"
}
refuses() { # version
    new_project refused
    ! cmake -S refused -B refused/build -DWAY=find_package "-DWANT=$1" \
        "-DCMAKE_PREFIX_PATH=$work/cmake prefix" >said 2>&1 && grep -q 'version' said
}
test_cmake_install() {
    try 'CMake: install' cmake_install
    cmake_way find_package "-DWANT=${version%.*}" "-DCMAKE_PREFIX_PATH=$work/cmake prefix"
    minor=${version#*.} minor=${minor%.*}
    for other in "${version%%.*}.$((minor - 1))" "${version%%.*}.$((minor + 1))" \
        $((${version%%.*} + 1)); do
        check "CMake find_package: $version is not compatible with $other" refuses "$other"
    done
    files_of 'cmake prefix' |
        grep -vE ' \./lib/cmake/ashlar/ashlar-config(-version)?\.cmake$' >by_cmake
    try 'CMake: installs the files of make install, beside its package' diff by_make by_cmake
    sed "s|cmake\\\\ prefix|a\\\\ prefix|" 'cmake prefix/lib/pkgconfig/ashlar.pc' >cmake.pc
    try 'CMake: the same pkg-config file' diff 'a prefix/lib/pkgconfig/ashlar.pc' cmake.pc
}
test_cmake() {
    need cmake cmake || return
    cmake_way add_subdirectory "-DASHLAR=$work/ashlar"
    try 'CMake add_subdirectory: ASHLAR_INSTALL' cmake project/build -DASHLAR_INSTALL=ON
    try 'CMake add_subdirectory: install' cmake --install project/build --prefix "$work/with it"
    check 'CMake add_subdirectory: installs Ashlar if asked to' \
        [ -f 'with it/include/ashlar/slab.h' ]
    tar -czf ashlar.tar.gz ashlar
    cmake_way FetchContent "-DASHLAR=$work/ashlar.tar.gz"
    test_cmake_install
}

# ---- Meson ----

meson_project() { # project, options...
    project=$1
    shift
    meson setup "$@" "$project/build" "$project" && ninja -C "$project/build"
}
meson_way() { # name, options...
    name=$1
    shift
    try "Meson $name: builds" meson_project project "$@"
    run_programs "Meson $name" ./project/build
    try "Meson $name: install" meson install -C project/build --destdir "$work/only meson $name"
    check "Meson $name: installs the program alone" installs_only_itself "only meson $name"
}
meson_install() {
    meson setup "--prefix=$work/meson prefix" --libdir=lib meson-build ashlar &&
        meson install -C meson-build
}
test_meson_install() {
    need pkg-config pkg-config || return
    try 'Meson: install' meson_install
    files_of 'meson prefix' >by_meson
    try 'Meson: installs the files of make install' diff by_make by_meson
    sed "s|meson\\\\ prefix|a\\\\ prefix|" 'meson prefix/lib/pkgconfig/ashlar.pc' | sort >meson.pc
    sort 'a prefix/lib/pkgconfig/ashlar.pc' >make.pc
    try 'Meson: the same pkg-config file' diff make.pc meson.pc
    new_project project
    PKG_CONFIG_PATH="$work/meson prefix/lib/pkgconfig"
    export PKG_CONFIG_PATH
    meson_way 'dependency, installed' -Dway=dependency
    unset PKG_CONFIG_PATH
}
test_meson() {
    need meson meson && need ninja-build ninja || return
    for way in subproject dependency; do
        new_project project
        mkdir project/subprojects
        cp -R ashlar project/subprojects
        meson_way "$way, vendored" "-Dway=$way"
    done
    test_meson_install
}

try 'the repository has what a user takes' copy_repository
test_copy
test_submodule
test_make_install
test_uninstall
test_cmake
test_meson
tap_end
