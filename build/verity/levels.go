package verity

import (
	"crypto/sha256"
	"fmt"
	"hash"
)

// maxBlocks keeps every size and offset within 63 bits.
const maxBlocks = 1 << 48

// level is one level of a tree: where it lies behind the superblock's block,
// and its size, in blocks.
type level struct {
	start, blocks int64
}

// levels gives the tree over the data blocks, level 0 (digests of data) first.
// On disk the order is the other way round. One data block has no levels.
func levels(dataBlocks int64) []level {
	var all []level
	for n := dataBlocks; n > 1; {
		n = (n + fanOut - 1) / fanOut
		all = append(all, level{blocks: n})
	}
	start := int64(0)
	for i := len(all) - 1; i >= 0; i-- {
		all[i].start = start
		start += all[i].blocks
	}
	return all
}

// HashSize is the size in bytes of the hash area, superblock included, over
// dataSize bytes, which must be a positive multiple of BlockSize.
func HashSize(dataSize int64) (int64, error) {
	blocks, err := countBlocks(dataSize)
	if err != nil {
		return 0, err
	}
	size := int64(1)
	for _, l := range levels(blocks) {
		size += l.blocks
	}
	return size * BlockSize, nil
}

func countBlocks(dataSize int64) (int64, error) {
	if dataSize <= 0 || dataSize%BlockSize != 0 || dataSize/BlockSize > maxBlocks {
		return 0, fmt.Errorf("verity: data is %d bytes, should be a positive multiple of %d",
			dataSize, BlockSize)
	}
	return dataSize / BlockSize, nil
}

// hasher computes digests of blocks. It is for one goroutine.
type hasher struct {
	salt []byte
	h    hash.Hash
}

func newHasher(salt []byte) *hasher { return &hasher{salt, sha256.New()} }

// digest appends the digest of a block to dst.
func (h *hasher) digest(dst, block []byte) []byte {
	h.h.Reset()
	h.h.Write(h.salt)
	h.h.Write(block)
	return h.h.Sum(dst)
}

// digests computes the digests of all blocks in data into a hash block.
func (h *hasher) digests(hashBlock, data []byte) {
	out := hashBlock[:0]
	for ; len(data) > 0; data = data[BlockSize:] {
		out = h.digest(out, data[:BlockSize])
	}
	clear(hashBlock[len(out):])
}
