// Package verity makes and checks dm-verity hash trees: SHA-256, salt in front
// of the data, data and hash blocks of 4 KiB, format version 1. What it writes
// is byte for byte what veritysetup format writes.
//
// It does not activate anything: the kernel's device mapper does that with the
// root hash and the sizes. It uses the standard library only, because the
// programs on the machine share it.
//
// On disk a hash area is
//
//	one block      superblock (512 bytes, rest zero)
//	level n        one block, whose digest is the root hash
//	...
//	level 0        digests of data blocks, 128 to a block, rest of the last zero
//
// The digest of a block is SHA-256(salt | block). A single data block has no
// tree: its digest is the root hash.
//
// Format: https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity and
// Documentation/admin-guide/device-mapper/verity.rst in the Linux source.
package verity

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// BlockSize is the size of data and hash blocks in bytes.
const BlockSize = 4096

// MaxSalt is the longest salt in bytes.
const MaxSalt = 256

// SuperblockSize is the size of an encoded superblock in bytes. It is followed
// by zeros to the end of its block.
const SuperblockSize = 512

const (
	digestSize = 32
	fanOut     = BlockSize / digestSize
	signature  = "verity\x00\x00"
	algorithm  = "sha256"
)

// Superblock says how a hash tree was made. The root hash does not cover it:
// whoever trusts a root hash must take the salt and sizes from the same source.
type Superblock struct {
	UUID       [16]byte
	DataBlocks int64 // of BlockSize bytes
	Salt       []byte
}

// Encode gives the superblock as stored, SuperblockSize bytes.
func (s *Superblock) Encode() ([]byte, error) {
	if len(s.Salt) > MaxSalt {
		return nil, fmt.Errorf("verity: salt has %d bytes, limit %d", len(s.Salt), MaxSalt)
	}
	le, b := binary.LittleEndian, make([]byte, SuperblockSize)
	copy(b, signature)
	le.PutUint32(b[8:], 1)  // version
	le.PutUint32(b[12:], 1) // hash type: salt first
	copy(b[16:32], s.UUID[:])
	copy(b[32:64], algorithm)
	le.PutUint32(b[64:], BlockSize) // data block
	le.PutUint32(b[68:], BlockSize) // hash block
	le.PutUint64(b[72:], uint64(s.DataBlocks))
	le.PutUint16(b[80:], uint16(len(s.Salt)))
	copy(b[88:88+MaxSalt], s.Salt)
	return b, nil
}

// ParseSuperblock reads a superblock from the start of b. A hash tree of
// another kind than this package makes is an error.
func ParseSuperblock(b []byte) (*Superblock, error) {
	if len(b) < SuperblockSize {
		return nil, fmt.Errorf("verity superblock: %d bytes, needs %d", len(b), SuperblockSize)
	}
	le := binary.LittleEndian
	if string(b[:8]) != signature {
		return nil, fmt.Errorf("verity superblock: signature is %q", b[:8])
	}
	for _, field := range []struct {
		name string
		at   int
		want uint32
	}{
		{"version", 8, 1}, {"hash type", 12, 1},
		{"data block size", 64, BlockSize}, {"hash block size", 68, BlockSize},
	} {
		if got := le.Uint32(b[field.at:]); got != field.want {
			return nil, fmt.Errorf("verity superblock: %s is %d, should be %d",
				field.name, got, field.want)
		}
	}
	if name, _, _ := bytes.Cut(b[32:64], []byte{0}); string(name) != algorithm {
		return nil, fmt.Errorf("verity superblock: algorithm is %q, should be %q", name, algorithm)
	}
	blocks, salt := le.Uint64(b[72:]), int(le.Uint16(b[80:]))
	if blocks == 0 || blocks > maxBlocks {
		return nil, fmt.Errorf("verity superblock: %d data blocks, limit 1 to %d",
			blocks, int64(maxBlocks))
	}
	if salt > MaxSalt {
		return nil, fmt.Errorf("verity superblock: salt has %d bytes, limit %d", salt, MaxSalt)
	}
	s := &Superblock{DataBlocks: int64(blocks), Salt: bytes.Clone(b[88 : 88+salt])}
	copy(s.UUID[:], b[16:32])
	return s, nil
}
