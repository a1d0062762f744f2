package verity

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// Options says how a tree is made.
type Options struct {
	Salt    []byte // at most MaxSalt bytes
	UUID    [16]byte
	Workers int // goroutines that hash; one for each processor if not set
	// TreeOnly leaves the superblock out: the tree begins at the offset.
	TreeOnly bool
}

// Result describes a written tree.
type Result struct {
	RootHash [32]byte
	HashSize int64 // bytes written at the offset: superblock's block and tree
}

// chunk is the data one hash block of level 0 covers: what a worker reads at
// once.
const chunk = fanOut * BlockSize

// Format hashes dataSize bytes of data, a positive multiple of BlockSize, and
// writes the superblock and tree to w at the offset, a multiple of BlockSize.
// data and w may be the same file if the areas do not overlap; w must bear
// writes from several goroutines, as a file does. Memory is 512 KiB for each
// worker and 64 bytes for every MiB of data.
//
// On an error part of the tree may have been written, but no superblock.
func Format(ctx context.Context, data io.ReaderAt, dataSize int64, w io.WriterAt, offset int64,
	opts *Options) (*Result, error) {
	blocks, err := countBlocks(dataSize)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset%BlockSize != 0 {
		return nil, fmt.Errorf("verity: hash offset %d is not a multiple of %d", offset, BlockSize)
	}
	super, err := (&Superblock{UUID: opts.UUID, DataBlocks: blocks, Salt: opts.Salt}).Encode()
	if err != nil {
		return nil, err
	}
	f := &formatter{
		data: data, blocks: blocks, w: w, tree: offset + BlockSize,
		levels: levels(blocks), salt: opts.Salt,
	}
	if opts.TreeOnly {
		f.tree = offset
	}
	root, err := f.hashAll(ctx, opts.Workers)
	if err != nil {
		return nil, fmt.Errorf("verity: %w", err)
	}
	size, err := HashSize(dataSize)
	if opts.TreeOnly {
		return &Result{RootHash: root, HashSize: size - BlockSize}, err
	}
	if _, err := w.WriteAt(append(super, make([]byte, BlockSize-len(super))...), offset); err != nil {
		return nil, fmt.Errorf("verity: write superblock: %w", err)
	}
	return &Result{RootHash: root, HashSize: size}, err
}

type formatter struct {
	data   io.ReaderAt
	blocks int64 // of data
	w      io.WriterAt
	tree   int64 // offset of the tree in w
	levels []level
	salt   []byte
}

func (f *formatter) hashAll(ctx context.Context, workers int) (root [32]byte, err error) {
	h := newHasher(f.salt)
	if len(f.levels) == 0 {
		block := make([]byte, BlockSize)
		if err := readFull(f.data, block, 0); err != nil {
			return root, fmt.Errorf("read data: %w", err)
		}
		h.digest(root[:0], block)
		return root, nil
	}
	// Level 0 is written by the workers; they keep the digest of every block
	// of it, which is the content of the next level.
	digests := make([]byte, f.levels[0].blocks*digestSize)
	err = inOrder(ctx, f.levels[0].blocks, workers, func() func(int64) error {
		h, buf, out := newHasher(f.salt), make([]byte, chunk), make([]byte, BlockSize)
		return func(i int64) error {
			data := buf[:min(chunk, (f.blocks-i*fanOut)*BlockSize)]
			if err := readFull(f.data, data, i*chunk); err != nil {
				return fmt.Errorf("read data: %w", err)
			}
			h.digests(out, data)
			h.digest(digests[i*digestSize:][:0:digestSize], out)
			return f.write(0, i, out)
		}
	})
	if err != nil {
		return root, err
	}
	for l := 1; l < len(f.levels); l++ {
		size := f.levels[l].blocks
		content := append(digests, make([]byte, size*BlockSize-int64(len(digests)))...)
		if err := f.write(l, 0, content); err != nil {
			return root, err
		}
		digests = make([]byte, 0, size*digestSize)
		for ; len(content) > 0; content = content[BlockSize:] {
			digests = h.digest(digests, content[:BlockSize])
		}
	}
	return [32]byte(digests), nil
}

func (f *formatter) write(l int, block int64, content []byte) error {
	_, err := f.w.WriteAt(content, f.tree+(f.levels[l].start+block)*BlockSize)
	if err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	return nil
}

// readFull fills b from r. Data that ends inside is io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d of %d bytes at %d: %w", n, len(b), off, err)
}

// inOrder runs jobs 0 to n-1 on the workers, started in order. worker makes
// one goroutine's job function. If jobs fail, the error is that of the first in
// order, and later ones are not started.
func inOrder(ctx context.Context, n int64, workers int, worker func() func(int64) error) error {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	var mu sync.Mutex
	var firstErr error
	next, failed := int64(0), n
	take := func() (int64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= failed || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var group sync.WaitGroup
	for range min(int64(workers), n) {
		group.Go(func() {
			run := worker()
			for i, ok := take(); ok; i, ok = take() {
				err := run(i)
				mu.Lock()
				if err != nil && i < failed {
					failed, firstErr = i, err
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if firstErr != nil {
		return firstErr
	}
	return ctx.Err()
}
