// Package erofs writes and reads uncompressed EROFS images, the read-only file
// system of a slot.
//
// What it writes, in blocks of 4 KiB:
//
//	block 0     1024 zero bytes, superblock (128 bytes), then inodes at once
//	...         inodes, 32-byte aligned, each with its xattrs and, if small,
//	            its content behind it
//	...         the full blocks of directories
//	...         the content of files, each starting on a block, in path order
//
// Files above a small size never share a block with anything else, so a file
// that is the same in two versions is the same run of blocks in both images.
// Two files of equal content share their blocks. Equal trees and options give
// equal bytes.
//
// It does not compress, does not know about several devices or chunk-based
// files, and reads only what it could have written plus the tail-packed files
// and shared attributes mkfs.erofs makes.
//
// Format: https://erofs.docs.kernel.org/en/latest/core_ondisk.html and
// Documentation/filesystems/erofs.rst in the Linux source.
package erofs

import "hash/crc32"

// BlockSize is the size of a block in the images Write makes, in bytes.
const BlockSize = 4096

const (
	superOffset = 1024
	superSize   = 128
	magic       = 0xE0F5E1E2

	slotSize     = 32 // an inode's number (nid) is its offset in these
	compactSize  = 32
	extendedSize = 64
	direntSize   = 12
	maxName      = 255
	maxSymlink   = 4095

	compatChecksum = 0x1 // superblock has a CRC32C
	compatMTime    = 0x2 // extended inodes hold mtime, not ctime

	// Incompatible features that change nothing for uncompressed files:
	// mkfs.erofs sets the first one (LZ4 zero padding) on every image.
	incompatHarmless = 0x1 | 0x2 | 0x10 | 0x20

	layoutPlain  = 0 // content in blocks
	layoutInline = 2 // full blocks, and the tail behind the inode

	noBlock = 0xFFFFFFFF // block address of content that has no block
)

// Directory entry types: the kernel's FT_* numbers.
const (
	ftFile    = 1
	ftDir     = 2
	ftChar    = 3
	ftBlock   = 4
	ftFifo    = 5
	ftSymlink = 7
)

// File type bits of a mode.
const (
	modeMask    = 0o170000
	modeFifo    = 0o010000
	modeChar    = 0o020000
	modeDir     = 0o040000
	modeBlock   = 0o060000
	modeFile    = 0o100000
	modeSymlink = 0o120000
)

// superChecksum is the CRC32C of the rest of block 0 from the superblock on,
// with the checksum field zero. EROFS leaves out the final inversion.
func superChecksum(block []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, block[superOffset:superOffset+4])
	sum = crc32.Update(sum, table, make([]byte, 4))
	return ^crc32.Update(sum, table, block[superOffset+8:])
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// encodeDevice packs a device number as the kernel's new_encode_dev does: 12
// bits of major, 20 of minor.
func encodeDevice(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

func decodeDevice(dev uint32) (major, minor uint32) {
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}
