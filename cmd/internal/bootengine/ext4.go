package bootengine

import (
	"bytes"
	"encoding/binary"
)

// blankCheck is how many bytes at the start of ROOT decide what it holds. All
// file systems, volume managers and RAIDs leave something there.
const blankCheck = 1 << 20

// unfinished is written over the first sector of ROOT while a file system is
// being made, and removed by the very last write. ext4 does not use that sector.
const unfinished = "slipway: the file system here is being made\n"

// rootPlan is what to do with ROOT before it is mounted.
type rootPlan int

const (
	rootForeign rootPlan = iota // not ours: stop
	rootMake                    // blank, or the making of it was interrupted
	rootCheck                   // ext4 with errors noted
	rootReady                   // ext4; its journal is the kernel's business
)

// ext4 is what the engine needs of a superblock.
type ext4 struct {
	blockSize int64
	blocks    uint64
	recover   bool // it was not unmounted; the kernel replays its journal
}

// Superblock fields, bytes from the start of the file system
// (Documentation/filesystems/ext4/super.rst in the kernel).
const (
	ext4Super      = 1024
	ext4BlocksLo   = ext4Super + 0x04
	ext4LogBlock   = ext4Super + 0x18
	ext4Magic      = ext4Super + 0x38
	ext4State      = ext4Super + 0x3a
	ext4Incompat   = ext4Super + 0x60
	ext4BlocksHi   = ext4Super + 0x150
	ext4MagicValue = 0xef53

	ext4StateErrors = 2
	ext4Incompat64  = 0x80
	ext4Extents     = 0x40
	ext4Recover     = 0x04
)

// planRoot decides by the first blankCheck bytes of ROOT. The file system is
// nil unless the plan is rootCheck or rootReady.
func planRoot(head []byte) (rootPlan, *ext4) {
	if isUnfinished(head) {
		return rootMake, nil
	}
	if len(bytes.TrimLeft(head, "\x00")) == 0 {
		return rootMake, nil
	}
	le := binary.LittleEndian
	if len(head) < ext4Super+1024 || le.Uint16(head[ext4Magic:]) != ext4MagicValue {
		return rootForeign, nil
	}
	// ext2 and ext3 have no extents; the kernel would mount them, but no image
	// ever made them.
	incompat := le.Uint32(head[ext4Incompat:])
	if incompat&ext4Extents == 0 {
		return rootForeign, nil
	}
	shift := le.Uint32(head[ext4LogBlock:])
	if shift > 6 {
		return rootForeign, nil
	}
	fs := &ext4{blockSize: 1024 << shift, blocks: uint64(le.Uint32(head[ext4BlocksLo:])), recover: incompat&ext4Recover != 0}
	if incompat&ext4Incompat64 != 0 {
		fs.blocks |= uint64(le.Uint32(head[ext4BlocksHi:])) << 32
	}
	// A file system that is mounted, as after a power cut, is not marked valid
	// and only needs its journal; one with errors needs e2fsck.
	if le.Uint16(head[ext4State:])&ext4StateErrors != 0 {
		return rootCheck, fs
	}
	return rootReady, fs
}

func isUnfinished(head []byte) bool { return bytes.HasPrefix(head, []byte(unfinished)) }

// planFSGrow says whether the file system should grow to fill a partition of
// size bytes, and to how many blocks.
func planFSGrow(fs *ext4, size int64) (blocks uint64, grow bool) {
	want := uint64(size / fs.blockSize)
	if want <= fs.blocks || (want-fs.blocks)*uint64(fs.blockSize) < fsGrowMin {
		return fs.blocks, false
	}
	return want, true
}
