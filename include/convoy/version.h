/* The version, here and nowhere else: what is built, installed or printed takes it from these
 * lines. When which of them is raised: docs/abi.md. */
#ifndef CONVOY_VERSION_H
#define CONVOY_VERSION_H

#define CVY_VERSION_MAJOR 0
#define CVY_VERSION_MINOR 1
#define CVY_VERSION_PATCH 0
/* Of the soname, libconvoy.so.N, and of the symbols' version. Raised when programs must be built
 * anew; not the same as MAJOR. */
#define CVY_SOVERSION 0

#define CVY_VERSION_TEXT_OF(number) #number
#define CVY_VERSION_JOIN(major, minor, patch) \
    CVY_VERSION_TEXT_OF(major) "." CVY_VERSION_TEXT_OF(minor) "." CVY_VERSION_TEXT_OF(patch)
#define CVY_VERSION_STRING CVY_VERSION_JOIN(CVY_VERSION_MAJOR, CVY_VERSION_MINOR, CVY_VERSION_PATCH)

#endif
