// Package qemutests boots the image of each channel in QEMU, on BIOS and UEFI
// firmware, uses it, and damages it. It holds nothing but tests; package vm
// drives the machines.
//
// The tests build the image with "slipway build" and take QEMU from the tools
// tree, so they need nothing but Go and, the first time, a Debian mirror. They
// are left out by -short. After -args:
//
//	-channel alpha|beta|stable|all   the images to test, all unless said
//	-accel auto|tcg|kvm              how QEMU runs them, auto unless said
//	-release DIR                     a release directory to test instead
//	-console                         log the consoles as they come
//	-keep                            keep the files of machines that fail
package qemutests
