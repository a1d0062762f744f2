package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"slipway/build/disk"
	"slipway/cmd/internal/release"
	"slipway/partitions"
)

// fill puts the files of the release into a directory, with the channel's name
// in the disk image, and says what they are.
func (p *promotion) fill(ctx context.Context, dir string) (*release.Info, error) {
	next := *p.info
	next.Channel, next.Files = p.to, nil
	next.Promoted = &release.Promotion{Channel: p.from, Release: p.digest}
	for _, e := range p.info.Files {
		from, to := filepath.Join(p.dir, e.Name), filepath.Join(dir, e.Name)
		if e.Name != release.Disk {
			if err := cloneFile(from, to); err != nil {
				return nil, err
			}
			next.Files = append(next.Files, e)
			continue
		}
		if err := p.stampDisk(ctx, from, to); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		described, err := release.Describe(dir, e.Name, runtime.NumCPU(), e.SHA256 != "")
		if err != nil {
			return nil, err
		}
		next.Files = append(next.Files, described)
	}
	return &next, p.cloneOthers(dir)
}

// cloneOthers adds what release.json does not name: deltas and the evidence.
func (p *promotion) cloneOthers(dir string) error {
	names, err := filepath.Glob(filepath.Join(p.dir, release.Deltas))
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(p.dir, release.EvidenceFile)) {
		to := filepath.Join(dir, filepath.Base(name))
		if err := cloneFile(name, to); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// cloneFile gives a file another name: a copy that shares the blocks if the
// file system can, else a link.
func cloneFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(out.Fd()), int(in.Fd()))
	if err = errors.Join(err, out.Close()); err == nil {
		return nil
	}
	if err := os.Remove(to); err != nil {
		return err
	}
	return os.Link(from, to)
}

// stampDisk copies a disk image, with another channel for its machine to
// follow. The rest of the bytes stay.
func (p *promotion) stampDisk(ctx context.Context, from, to string) error {
	in, size, err := openImage(from)
	if err != nil {
		return err
	}
	defer in.Close()
	start, old, err := p.findOEM(in, size)
	if err != nil {
		return err
	}
	stamped, err := p.oem(p.to)
	if err != nil {
		return err
	}
	return copyImage(ctx, to, in, size, func(out *os.File) error { return stamped.writeChanges(out, start, old) })
}

// findOEM finds the OEM partition of a disk image, in bytes from its start. It
// must be what a build makes: what somebody put in there would get lost.
func (p *promotion) findOEM(in *os.File, size int64) (start int64, old *blocks, err error) {
	table, err := partitions.Read(in, size, 512)
	if err != nil {
		if table, err = partitions.Read(in, size, 4096); err != nil {
			return 0, nil, err
		}
	}
	part, ok := table.ByLabel(disk.LabelOEM)
	if !ok {
		return 0, nil, fmt.Errorf("no partition %s", disk.LabelOEM)
	}
	if old, err = p.oem(p.from); err != nil {
		return 0, nil, err
	}
	unit := int64(table.SectorSize)
	same, err := old.equal(io.NewSectionReader(in, part.Start*unit, part.Size*unit))
	if err == nil && !same {
		err = fmt.Errorf("partition %s: not what slipway build makes for channel %s", disk.LabelOEM, p.from)
	}
	return part.Start * unit, old, err
}

// oem is the content of the OEM partition for a channel.
func (p *promotion) oem(channel string) (*blocks, error) {
	made, err := time.Parse(time.RFC3339, p.info.Date)
	if err != nil {
		return nil, err
	}
	t, err := disk.OEM("qemu", p.info.Version, channel, made.Unix())
	if err != nil {
		return nil, err
	}
	o := &diskOptions{layout: diskLayout(p.info.Version), version: p.info.Version, time: made.Unix()}
	part, ok := o.layout.Partition(disk.LabelOEM)
	if !ok {
		return nil, errors.New("layout: no partition " + disk.LabelOEM)
	}
	b := &blocks{size: part.Size * int64(o.layout.SectorSize), data: map[int64]*[blockSize]byte{}}
	return b, o.formatFAT(b, b.size, disk.LabelOEM, t)
}

// blocks is a partition in memory, of which few blocks are not zero.
type blocks struct {
	size int64
	data map[int64]*[blockSize]byte // by number
}

const blockSize = 4096

// WriteAt writes into memory.
func (b *blocks) WriteAt(data []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(data)) > b.size {
		return 0, fmt.Errorf("internal error: %d bytes at %d, partition holds %d", len(data), at, b.size)
	}
	for done := 0; done < len(data); {
		n, offset := (at+int64(done))/blockSize, (at+int64(done))%blockSize
		if b.data[n] == nil {
			b.data[n] = new([blockSize]byte)
		}
		done += copy(b.data[n][offset:], data[done:])
	}
	return len(data), nil
}

// block is a block as it is read.
func (b *blocks) block(n int64) []byte {
	if d := b.data[n]; d != nil {
		return d[:]
	}
	return make([]byte, blockSize)
}

// equal compares with what a reader holds.
func (b *blocks) equal(r *io.SectionReader) (bool, error) {
	if r.Size() != b.size {
		return false, nil
	}
	buf, zero := make([]byte, blockSize), make([]byte, blockSize)
	for n := range b.size / blockSize {
		if _, err := io.ReadFull(r, buf); err != nil {
			return false, err
		}
		want := zero
		if d := b.data[n]; d != nil {
			want = d[:]
		}
		if !bytes.Equal(buf, want) {
			return false, nil
		}
	}
	return true, nil
}

// writeChanges writes the blocks that differ from old, so that a sparse file
// stays sparse.
func (b *blocks) writeChanges(w io.WriterAt, start int64, old *blocks) error {
	for n := range b.size / blockSize {
		if b.data[n] == nil && old.data[n] == nil || bytes.Equal(b.block(n), old.block(n)) {
			continue
		}
		if _, err := w.WriteAt(b.block(n), start+n*blockSize); err != nil {
			return err
		}
	}
	return nil
}
