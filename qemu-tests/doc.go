// Package qemutests boots the image of each channel in QEMU, on BIOS and UEFI
// firmware, uses it, damages it, and updates it well and badly. It holds
// nothing but tests; package vm drives the machines, package powercut says what
// a power cut leaves of a disk.
//
// The tests build the image with "slipway build", and the newer versions it is
// updated to, and take QEMU from the tools tree, so they need nothing but Go
// and, the first time, a Debian mirror. They are left out by -short. After
// -args:
//
//	-channel ci|all|alpha|beta|stable  the images to test, ci unless said
//	-accel auto|tcg|kvm                how QEMU runs them, auto unless said
//	-release DIR                       a release directory to test instead
//	-sign FLAGS                        how newer versions of it are signed
//	-console                           log the consoles as they come
//	-keep                              keep the files of machines that fail
//
// With -channel ci every test runs on alpha, and on beta and stable those of
// TestUpdate that a channel's own image could fail; all runs every test on
// every channel, and the name of a channel every test on that one.
//
// Two machines run at once on two processors (go test -parallel). Tests of one
// channel share what takes long to make: see lab. A case of TestUpdate that is
// run by itself makes what it needs.
package qemutests
