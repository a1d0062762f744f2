package verity_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/verity"
)

// disk is a file in memory.
type disk struct {
	mu sync.Mutex
	b  []byte
}

func (d *disk) ReadAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.NewReader(d.b).ReadAt(b, off)
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if end := int(off) + len(b); end > len(d.b) {
		d.b = append(d.b, make([]byte, end-len(d.b))...)
	}
	return copy(d.b[off:], b), nil
}

// pattern gives blocks that all differ.
func pattern(blocks int) []byte {
	data := make([]byte, blocks*verity.BlockSize)
	for i := range blocks {
		binary.LittleEndian.PutUint32(data[i*verity.BlockSize:], uint32(i)*2654435761+1)
	}
	return data
}

// naiveRoot is the tree's definition written down a second time.
func naiveRoot(data, salt []byte) [32]byte {
	for {
		var digests []byte
		for b := data; len(b) > 0; b = b[verity.BlockSize:] {
			sum := sha256.Sum256(append(bytes.Clone(salt), b[:verity.BlockSize]...))
			digests = append(digests, sum[:]...)
		}
		if len(digests) == 32 {
			return [32]byte(digests)
		}
		data = append(digests, make([]byte, -len(digests)&(verity.BlockSize-1))...)
	}
}

// Sizes around the points where the tree grows by a block or a level.
var sizes = []int{1, 2, 127, 128, 129, 255, 256, 128*128 - 1, 128*128 + 1}

func TestFormat(t *testing.T) {
	salt := []byte("some salt, thirty-two bytes long")
	for _, blocks := range sizes {
		t.Run(fmt.Sprint(blocks), func(t *testing.T) {
			data := pattern(blocks)
			var first []byte
			for _, workers := range []int{1, 2, 7} {
				var hash disk
				r, err := verity.Format(t.Context(), bytes.NewReader(data), int64(len(data)), &hash, 0,
					&verity.Options{Salt: salt, UUID: [16]byte{1, 2, 3}, Workers: workers})
				require.NoError(t, err)
				assert.Equal(t, naiveRoot(data, salt), r.RootHash)
				assert.Equal(t, int64(len(hash.b)), r.HashSize)
				if first == nil {
					first = hash.b
				}
				assert.True(t, bytes.Equal(first, hash.b), "workers change the bytes")

				super, err := verity.ParseSuperblock(hash.b)
				require.NoError(t, err)
				assert.Equal(t, &verity.Superblock{
					UUID: [16]byte{1, 2, 3}, DataBlocks: int64(blocks), Salt: salt,
				}, super)
				assert.NoError(t, verity.Verify(t.Context(), bytes.NewReader(data), int64(len(data)),
					&hash, 0, r.RootHash, salt, workers))
				assert.NoError(t, verity.VerifyTree(t.Context(), int64(len(data)),
					&hash, 0, r.RootHash, salt, workers))
			}
		})
	}
}

// The data and its tree share a device in a slot.
func TestFormatSameDevice(t *testing.T) {
	slot := disk{b: pattern(300)}
	size := int64(len(slot.b))
	r, err := verity.Format(t.Context(), &slot, size, &slot, size, &verity.Options{})
	require.NoError(t, err)
	assert.Equal(t, size+r.HashSize, int64(len(slot.b)))
	assert.NoError(t, verity.Verify(t.Context(), &slot, size, &slot, size, r.RootHash, nil, 2))
}

// The tree alone is the hash area without its first block.
func TestTreeOnly(t *testing.T) {
	data := pattern(1000)
	whole, tree := &disk{}, &disk{}
	opts := &verity.Options{Salt: []byte("salt")}
	want, err := verity.Format(t.Context(), bytes.NewReader(data), int64(len(data)), whole, 0, opts)
	require.NoError(t, err)
	opts.TreeOnly = true
	got, err := verity.Format(t.Context(), bytes.NewReader(data), int64(len(data)), tree, 0, opts)
	require.NoError(t, err)
	assert.Equal(t, want.RootHash, got.RootHash)
	assert.Equal(t, want.HashSize-verity.BlockSize, got.HashSize)
	assert.True(t, bytes.Equal(whole.b[verity.BlockSize:], tree.b))
}

func TestVerifyNamesFirstBadBlock(t *testing.T) {
	const blocks = 128*128 + 300 // level 0: 131 blocks, level 1: 2, level 2: 1
	data := pattern(blocks)
	var hash disk
	salt := []byte{1, 2, 3}
	r, err := verity.Format(t.Context(), bytes.NewReader(data), int64(len(data)), &hash, 0,
		&verity.Options{Salt: salt})
	require.NoError(t, err)
	const block = verity.BlockSize
	for _, c := range []struct {
		name       string
		data, hash []int // bytes to flip
		want       string
		wantTree   string
	}{
		{"first data block", []int{0}, nil, "verity: data block 0 is corrupt", ""},
		{"last data byte", []int{len(data) - 1}, nil, "verity: data block 16683 is corrupt", ""},
		{"several", []int{9000 * block, 400*block + 5, 401 * block}, nil,
			"verity: data block 400 is corrupt", ""},
		{"tree before data", []int{0}, []int{1 * block},
			"verity: tree level 2, block 0 is corrupt", "verity: tree level 2, block 0 is corrupt"},
		{"level 1", nil, []int{3 * block},
			"verity: tree level 1, block 1 is corrupt", "verity: tree level 1, block 1 is corrupt"},
		{"padding of level 1", nil, []int{4*block - 1},
			"verity: tree level 1, block 1 is corrupt", "verity: tree level 1, block 1 is corrupt"},
		{"level 0", nil, []int{4*block + 100*block, 4*block + 77*block},
			"verity: tree level 0, block 77 is corrupt", "verity: tree level 0, block 77 is corrupt"},
		{"salt", nil, []int{88}, "verity superblock: salt is 000203, should be 010203",
			"verity superblock: salt is 000203, should be 010203"},
		{"blocks", nil, []int{72}, "verity superblock: 16685 data blocks, should be 16684",
			"verity superblock: 16685 data blocks, should be 16684"},
	} {
		t.Run(c.name, func(t *testing.T) {
			badData, badHash := bytes.Clone(data), &disk{b: bytes.Clone(hash.b)}
			for _, at := range c.data {
				badData[at] ^= 1
			}
			for _, at := range c.hash {
				badHash.b[at] ^= 1
			}
			size := int64(len(data))
			for _, workers := range []int{1, 3} {
				err := verity.Verify(t.Context(), bytes.NewReader(badData), size, badHash, 0,
					r.RootHash, salt, workers)
				assert.EqualError(t, err, c.want)
				err = verity.VerifyTree(t.Context(), size, badHash, 0, r.RootHash, salt, workers)
				if c.wantTree == "" {
					assert.NoError(t, err)
				} else {
					assert.EqualError(t, err, c.wantTree)
				}
			}
		})
	}
	t.Run("root hash", func(t *testing.T) {
		err := verity.Verify(t.Context(), bytes.NewReader(data), int64(len(data)), &hash, 0,
			[32]byte{1}, salt, 1)
		var corrupt *verity.CorruptError
		require.ErrorAs(t, err, &corrupt)
		assert.Equal(t, verity.CorruptError{Level: 2, Block: 0}, *corrupt)
	})
	t.Run("short hash area", func(t *testing.T) {
		short := disk{b: hash.b[:5*block+10]}
		err := verity.VerifyTree(t.Context(), int64(len(data)), &short, 0, r.RootHash, salt, 1)
		assert.EqualError(t, err, "verity: read tree: 10 of 4096 bytes at 20480: unexpected EOF")
	})
}

func TestErrors(t *testing.T) {
	ctx, data := t.Context(), bytes.NewReader(pattern(2))
	var hash disk
	format := func(size, offset int64, opts *verity.Options) error {
		_, err := verity.Format(ctx, data, size, &hash, offset, opts)
		return err
	}
	assert.EqualError(t, format(0, 0, &verity.Options{}),
		"verity: data is 0 bytes, should be a positive multiple of 4096")
	assert.EqualError(t, format(100, 0, &verity.Options{}),
		"verity: data is 100 bytes, should be a positive multiple of 4096")
	assert.EqualError(t, format(4096, 5, &verity.Options{}),
		"verity: hash offset 5 is not a multiple of 4096")
	assert.EqualError(t, format(4096, 0, &verity.Options{Salt: make([]byte, 257)}),
		"verity: salt has 257 bytes, limit 256")
	assert.EqualError(t, format(3*4096, 0, &verity.Options{}),
		"verity: read data: 8192 of 12288 bytes at 0: unexpected EOF")
	assert.Empty(t, hash.b, "nothing is written for bad data")

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := verity.Format(canceled, data, 8192, &hash, 0, &verity.Options{})
	assert.ErrorIs(t, err, context.Canceled)

	_, err = verity.Format(ctx, data, 8192, badWriter{}, 0, &verity.Options{})
	assert.EqualError(t, err, "verity: write tree: disk is gone")
}

type badWriter struct{}

func (badWriter) WriteAt([]byte, int64) (int, error) { return 0, errors.New("disk is gone") }

func TestHashSize(t *testing.T) {
	for _, blocks := range sizes {
		data := pattern(blocks)
		r, err := verity.Format(t.Context(), bytes.NewReader(data), int64(len(data)), &disk{}, 0,
			&verity.Options{})
		require.NoError(t, err)
		size, err := verity.HashSize(int64(len(data)))
		require.NoError(t, err)
		assert.Equal(t, r.HashSize, size)
	}
}

func TestParseSuperblockErrors(t *testing.T) {
	good, err := (&verity.Superblock{DataBlocks: 5}).Encode()
	require.NoError(t, err)
	for _, c := range []struct {
		at   int
		b    byte
		want string
	}{
		{0, 'V', `verity superblock: signature is "Verity\x00\x00"`},
		{8, 2, "verity superblock: version is 2, should be 1"},
		{12, 0, "verity superblock: hash type is 0, should be 1"},
		{33, 'x', `verity superblock: algorithm is "sxa256", should be "sha256"`},
		{65, 2, "verity superblock: data block size is 512, should be 4096"},
		{69, 4, "verity superblock: hash block size is 1024, should be 4096"},
		{72, 0, "verity superblock: 0 data blocks, limit 1 to 281474976710656"},
		{79, 255, "verity superblock: 18374686479671623685 data blocks, limit 1 to 281474976710656"},
		{81, 2, "verity superblock: salt has 512 bytes, limit 256"},
	} {
		bad := bytes.Clone(good)
		bad[c.at] = c.b
		_, err := verity.ParseSuperblock(bad)
		assert.EqualError(t, err, c.want)
	}
	_, err = verity.ParseSuperblock(good[:100])
	assert.EqualError(t, err, "verity superblock: 100 bytes, needs 512")
}

func FuzzParseSuperblock(f *testing.F) {
	for _, s := range []verity.Superblock{
		{DataBlocks: 1}, {DataBlocks: 1 << 40, Salt: make([]byte, 256), UUID: [16]byte{9}},
	} {
		b, err := s.Encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := verity.ParseSuperblock(b)
		if err != nil {
			return
		}
		again, err := s.Encode()
		require.NoError(t, err)
		same, err := verity.ParseSuperblock(again)
		require.NoError(t, err)
		assert.Equal(t, s, same)
	})
}

// A hostile hash area must end in an error, not in memory or time.
func FuzzVerify(f *testing.F) {
	data := pattern(130)
	var hash disk
	r, err := verity.Format(context.Background(), bytes.NewReader(data), int64(len(data)), &hash, 0,
		&verity.Options{})
	require.NoError(f, err)
	f.Add(hash.b, int64(len(data)))
	f.Add(hash.b, int64(1)<<60)
	f.Add(hash.b[:5000], int64(len(data)))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		hash := disk{b: b}
		err := verity.VerifyTree(t.Context(), size, &hash, 0, r.RootHash, nil, 1)
		if err == nil && size != int64(len(data)) && size != verity.BlockSize {
			t.Fatalf("tree over %d bytes accepted for %d", len(data), size)
		}
	})
}

func BenchmarkFormat(b *testing.B) {
	data := pattern(64 << 20 / verity.BlockSize)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, err := verity.Format(b.Context(), bytes.NewReader(data), int64(len(data)),
					discard{}, 0, &verity.Options{Salt: make([]byte, 32), Workers: workers})
				require.NoError(b, err)
			}
		})
	}
}

type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return io.Discard.Write(b) }
