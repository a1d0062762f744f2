package erofs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"slipway/build/tree"
)

// Options says how an image is written.
type Options struct {
	UUID    [16]byte
	Label   string // at most 16 bytes
	Time    int64  // build time, seconds since 1970; files of this time have smaller inodes
	Workers int    // goroutines that copy contents; 2 if not set
}

// copyBuffer is how much content a worker holds: what is copied with one
// write.
const copyBuffer = 1 << 20

// Write writes the tree as an EROFS image at the start of w and returns the
// image's size in bytes, a multiple of BlockSize. Every byte of it is written.
//
// A file whose content is longer or shorter than its blob says is an error
// that names it. So are names, targets, attributes and device numbers the
// format cannot hold. On an error w holds part of an image without a
// superblock.
func Write(ctx context.Context, w io.WriterAt, t *tree.Tree, opts *Options) (int64, error) {
	if len(opts.Label) > 16 {
		return 0, fmt.Errorf("erofs: label %q has %d bytes, limit 16", opts.Label, len(opts.Label))
	}
	img, err := plan(t, opts)
	if err != nil {
		return 0, fmt.Errorf("erofs: %w", err)
	}
	meta, err := img.encodeMeta(ctx)
	if err != nil {
		return 0, fmt.Errorf("erofs: %w", err)
	}
	if err := img.copyFiles(ctx, w); err != nil {
		return 0, fmt.Errorf("erofs: %w", err)
	}
	if _, err := w.WriteAt(meta, 0); err != nil {
		return 0, fmt.Errorf("erofs: %w", err)
	}
	return img.blocks * BlockSize, nil
}

// encodeMeta gives all blocks in front of the file contents.
func (img *image) encodeMeta(ctx context.Context) ([]byte, error) {
	meta := make([]byte, int64(img.files)*BlockSize)
	var small []*inode
	for _, i := range img.inodes {
		i.encode(meta[i.offset:])
		var content []byte
		switch i.node.Type {
		case tree.Dir:
			content = encodeDir(i.blocks, i.size)
		case tree.Symlink:
			content = []byte(i.node.Target)
		case tree.File:
			if i.inline {
				small = append(small, i)
			}
			continue
		}
		inBlocks := i.size - i.tail
		copy(meta[i.offset+i.headSize():], content[inBlocks:])
		if inBlocks > 0 {
			copy(meta[int64(i.block)*BlockSize:], content[:inBlocks])
		}
	}
	err := img.parallel(ctx, len(small), func() func(int) error {
		return func(k int) error {
			i := small[k]
			tail := i.offset + i.headSize()
			return readBlob(i, meta[tail:tail+i.tail])
		}
	})
	if err != nil {
		return nil, err
	}
	img.encodeSuper(meta)
	return meta, nil
}

func (img *image) encodeSuper(meta []byte) {
	le, sb := binary.LittleEndian, meta[superOffset:]
	le.PutUint32(sb, magic)
	le.PutUint32(sb[8:], compatChecksum|compatMTime)
	sb[12] = 12 // log2 of the block size
	le.PutUint16(sb[14:], uint16(img.inodes[0].nid()))
	le.PutUint64(sb[16:], uint64(len(img.inodes)))
	le.PutUint64(sb[24:], uint64(img.opts.Time))
	le.PutUint32(sb[36:], uint32(img.blocks))
	copy(sb[48:64], img.opts.UUID[:])
	copy(sb[64:80], img.opts.Label)
	le.PutUint32(sb[4:], superChecksum(meta[:BlockSize]))
}

// copyFiles fills the extents. Neighbours that fit in one buffer together are
// one job and one write.
func (img *image) copyFiles(ctx context.Context, w io.WriterAt) error {
	var jobs [][]extent
	start, room := 0, int64(0)
	for k, e := range img.extents {
		if size := roundUp(e.inode.size, BlockSize); k == start || size <= room {
			if k == start {
				room = copyBuffer
			}
			room -= size
			continue
		}
		jobs = append(jobs, img.extents[start:k])
		start, room = k, copyBuffer-roundUp(e.inode.size, BlockSize)
	}
	if start < len(img.extents) {
		jobs = append(jobs, img.extents[start:])
	}
	return img.parallel(ctx, len(jobs), func() func(int) error {
		buf := make([]byte, copyBuffer)
		return func(k int) error {
			if len(jobs[k]) == 1 {
				return copyExtent(w, jobs[k][0], buf)
			}
			return copyExtents(w, jobs[k], buf)
		}
	})
}

// copyExtents copies neighbours that fit in buf together.
func copyExtents(w io.WriterAt, extents []extent, buf []byte) error {
	end := int64(0)
	for _, e := range extents {
		content := buf[end : end+e.inode.size]
		if err := readBlob(e.inode, content); err != nil {
			return err
		}
		next := roundUp(end+e.inode.size, BlockSize)
		clear(buf[end+e.inode.size : next])
		end = next
	}
	_, err := w.WriteAt(buf[:end], int64(extents[0].block)*BlockSize)
	return err
}

// copyExtent copies a file of any size.
func copyExtent(w io.WriterAt, e extent, buf []byte) (err error) {
	r, err := e.inode.node.Blob.Open()
	if err != nil {
		return fmt.Errorf("file /%s: %w", e.inode.path, err)
	}
	defer r.Close()
	at, left := int64(e.block)*BlockSize, e.inode.size
	sum := sha256.New()
	for left > 0 {
		n := min(left, int64(len(buf)))
		if got, err := io.ReadFull(r, buf[:n]); err != nil {
			return shortError(e.inode, e.inode.size-left+int64(got), err)
		}
		sum.Write(buf[:n])
		padded := roundUp(n, BlockSize)
		clear(buf[n:padded])
		if _, err := w.WriteAt(buf[:padded], at); err != nil {
			return err
		}
		at, left = at+padded, left-n
	}
	if err := expectEnd(e.inode, r); err != nil {
		return err
	}
	return expectSum(e.inode, [32]byte(sum.Sum(nil)))
}

// readBlob fills b with a file's content.
func readBlob(i *inode, b []byte) error {
	r, err := i.node.Blob.Open()
	if err != nil {
		return fmt.Errorf("file /%s: %w", i.path, err)
	}
	defer r.Close()
	if n, err := io.ReadFull(r, b); err != nil {
		return shortError(i, int64(n), err)
	}
	if err := expectEnd(i, r); err != nil {
		return err
	}
	return expectSum(i, sha256.Sum256(b))
}

// expectSum compares what was read: a flipped bit in a cache must not become
// part of an image that is then signed.
func expectSum(i *inode, got [32]byte) error {
	if want := i.node.Blob.SHA256(); got != want {
		return fmt.Errorf("file /%s: %w", i.path, &tree.DigestError{Want: want, Got: got})
	}
	return nil
}

func shortError(i *inode, got int64, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("file /%s: content is %d bytes, should be %d", i.path, got, i.size)
	}
	return fmt.Errorf("file /%s: %w", i.path, err)
}

func expectEnd(i *inode, r io.Reader) error {
	var one [1]byte
	n, err := io.ReadFull(r, one[:])
	if n > 0 {
		return fmt.Errorf("file /%s: content is longer than its %d bytes", i.path, i.size)
	}
	if err != io.EOF {
		return fmt.Errorf("file /%s: %w", i.path, err)
	}
	return nil
}

// parallel runs n jobs, started in order, on the workers; worker makes a
// goroutine's own job function. The first error ends all.
func (img *image) parallel(ctx context.Context, n int, worker func() func(int) error) error {
	workers := img.opts.Workers
	if workers < 1 {
		workers = 2
	}
	group, ctx := errgroup.WithContext(ctx)
	next := make(chan int)
	group.Go(func() error {
		defer close(next)
		for k := range n {
			select {
			case next <- k:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range min(workers, n) {
		group.Go(func() error {
			run := worker()
			for k := range next {
				if err := run(k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
