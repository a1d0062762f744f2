package verity

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// CorruptError says which block is not what the root hash promises.
type CorruptError struct {
	Level int   // of the tree, 0 above the data; -1 for the data itself
	Block int64 // number of the block in the data or the level
}

// Error names the block and its level.
func (e *CorruptError) Error() string {
	if e.Level < 0 {
		return fmt.Sprintf("verity: data block %d is corrupt", e.Block)
	}
	return fmt.Sprintf("verity: tree level %d, block %d is corrupt", e.Level, e.Block)
}

// Verify checks dataSize bytes of data and the hash area at the offset of hash
// against the root hash. The first block that is wrong, from the root down and
// then in the order of the data, is a *CorruptError. The superblock, which no
// hash covers, must agree with the size and the salt.
//
// workers is the number of goroutines, one for each processor if not set.
// Memory is as for Format.
func Verify(ctx context.Context, data io.ReaderAt, dataSize int64, hash io.ReaderAt, offset int64,
	root [32]byte, salt []byte, workers int) error {
	v, err := newVerifier(dataSize, hash, offset, root, salt)
	if err != nil {
		return err
	}
	if len(v.levels) == 0 {
		block := make([]byte, BlockSize)
		if err := readFull(data, block, 0); err != nil {
			return fmt.Errorf("verity: read data: %w", err)
		}
		return v.check(newHasher(salt), block, v.root[:], -1, 0)
	}
	digests, err := v.upperLevels()
	if err != nil {
		return err
	}
	return v.bottomLevel(ctx, workers, digests, func() dataChecker {
		h, buf, got := newHasher(salt), make([]byte, chunk), make([]byte, BlockSize)
		return func(i int64, want []byte) error {
			blocks := min(fanOut, v.blocks-i*fanOut)
			if err := readFull(data, buf[:blocks*BlockSize], i*chunk); err != nil {
				return fmt.Errorf("verity: read data: %w", err)
			}
			h.digests(got, buf[:blocks*BlockSize])
			for k := range blocks {
				at := k * digestSize
				if !bytes.Equal(got[at:at+digestSize], want[at:at+digestSize]) {
					return &CorruptError{Level: -1, Block: i*fanOut + k}
				}
			}
			return nil
		}
	})
}

// VerifyTree checks only the hash area, as Verify does, and not the data it
// was made of. Of a single data block, which has no tree, it checks nothing but
// the superblock.
func VerifyTree(ctx context.Context, dataSize int64, hash io.ReaderAt, offset int64,
	root [32]byte, salt []byte, workers int) error {
	v, err := newVerifier(dataSize, hash, offset, root, salt)
	if err != nil || len(v.levels) == 0 {
		return err
	}
	digests, err := v.upperLevels()
	if err != nil {
		return err
	}
	return v.bottomLevel(ctx, workers, digests, func() dataChecker {
		return func(int64, []byte) error { return nil }
	})
}

type verifier struct {
	hash   io.ReaderAt
	tree   int64 // offset of the tree in hash
	blocks int64 // of data
	levels []level
	root   [32]byte
	salt   []byte
}

// dataChecker compares the data that one block of level 0 covers with it.
type dataChecker func(block int64, digests []byte) error

func newVerifier(dataSize int64, hash io.ReaderAt, offset int64, root [32]byte,
	salt []byte) (*verifier, error) {
	blocks, err := countBlocks(dataSize)
	if err != nil {
		return nil, err
	}
	b := make([]byte, SuperblockSize)
	if err := readFull(hash, b, offset); err != nil {
		return nil, fmt.Errorf("verity: read superblock: %w", err)
	}
	super, err := ParseSuperblock(b)
	if err != nil {
		return nil, err
	}
	if super.DataBlocks != blocks {
		return nil, fmt.Errorf("verity superblock: %d data blocks, should be %d",
			super.DataBlocks, blocks)
	}
	if !bytes.Equal(super.Salt, salt) {
		return nil, fmt.Errorf("verity superblock: salt is %x, should be %x", super.Salt, salt)
	}
	return &verifier{hash, offset + BlockSize, blocks, levels(blocks), root, salt}, nil
}

// upperLevels checks all levels but the lowest and returns the digests of the
// lowest one's blocks.
func (v *verifier) upperLevels() ([]byte, error) {
	h, digests := newHasher(v.salt), v.root[:]
	for l := len(v.levels) - 1; l > 0; l-- {
		// A level is read by chunks and kept only as far as it holds digests,
		// so a hash area shorter than it claims is noticed early.
		count := v.levels[l].blocks
		var content []byte
		for i := range count {
			block := make([]byte, BlockSize)
			if err := v.read(l, i, block); err != nil {
				return nil, err
			}
			if err := v.check(h, block, digests[i*digestSize:][:digestSize], l, i); err != nil {
				return nil, err
			}
			content = append(content, block...)
		}
		digests = content
	}
	return digests, nil
}

// bottomLevel checks each block of level 0 against its digest and the data
// against the block.
func (v *verifier) bottomLevel(ctx context.Context, workers int, digests []byte,
	checker func() dataChecker) error {
	return inOrder(ctx, v.levels[0].blocks, workers, func() func(int64) error {
		h, block, checkData := newHasher(v.salt), make([]byte, BlockSize), checker()
		return func(i int64) error {
			if err := v.read(0, i, block); err != nil {
				return err
			}
			if err := v.check(h, block, digests[i*digestSize:][:digestSize], 0, i); err != nil {
				return err
			}
			return checkData(i, block)
		}
	})
}

func (v *verifier) read(l int, block int64, b []byte) error {
	err := readFull(v.hash, b, v.tree+(v.levels[l].start+block)*BlockSize)
	if err != nil {
		return fmt.Errorf("verity: read tree: %w", err)
	}
	return nil
}

func (v *verifier) check(h *hasher, block, want []byte, l int, i int64) error {
	if !bytes.Equal(h.digest(nil, block), want) {
		return &CorruptError{Level: l, Block: i}
	}
	return nil
}
