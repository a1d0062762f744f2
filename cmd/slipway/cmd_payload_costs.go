package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"slipway/build/erofs"
	"slipway/build/lock"
	"slipway/build/tree"
	"slipway/build/unpack"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/inspect"
	"slipway/cmd/internal/release"
	"slipway/signing/payload"
)

// What a payload's bytes are spent on when it is no file of a package.
const (
	costOfMetadata = "(metadata of the file system)"
	costOfTree     = "(hash tree and footer)"
	costOfKernel   = "(kernel and initramfs)"
	costOfOthers   = "(of no package)"
)

// costDoc is what something costs.
type costDoc struct {
	Name string `json:"name"`
	Data int64  `json:"data"` // bytes in the payload
}

// costs shares the bytes of a payload among the files they end up in.
type costs struct {
	slot     *slotFile // the image that the payload leads to
	source   *slotFile // the one it leads from; nil if it is not at hand
	files    []fileBlocks
	fsBlocks int64
	owners   map[string]string // package by path below /usr; nil if not known
	spent    map[string]int64  // by path
}

// fileBlocks is where a file lies in a slot image, in blocks.
type fileBlocks struct {
	path        string // below /usr
	start, ends int64
}

// openCosts finds the image that a payload leads to: the one named, or the one
// beside the payload if it is the right one. Without an image the answer is nil.
func openCosts(ctx context.Context, image, beside, source string, m *payload.Manifest) (_ *costs, err error) {
	name := image
	if name == "" {
		name = filepath.Join(filepath.Dir(beside), release.Slot)
	}
	slot, err := openSlot(name)
	if err != nil {
		if image == "" {
			return nil, nil
		}
		return nil, err
	}
	c := &costs{slot: slot, spent: map[string]int64{}, fsBlocks: slot.footer.FSSize / payload.BlockSize}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if slot.footer.RootHash != m.Info.RootHash {
		if image == "" {
			return nil, c.close()
		}
		return nil, hint.Add(fmt.Errorf("%s: is version %s, root hash %.16s; the payload leads to %s, root hash %.16s",
			slot.Name(), slot.footer.Version, slot.footer.RootHash, m.Info.Version, m.Info.RootHash),
			"--image RELEASE of version %s", m.Info.Version)
	}
	if source != "" && m.Delta() {
		if c.source, err = openSource(source, m); err != nil {
			return nil, err
		}
	}
	usr, err := erofs.Open(slot, slot.footer.FSSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", slot.Name(), err)
	}
	c.files = placeFiles(usr)
	c.owners, err = fileOwners(ctx, usr)
	return c, err
}

func (c *costs) close() error {
	err := c.slot.Close()
	if c.source != nil {
		err = errors.Join(err, c.source.Close())
	}
	return err
}

// placeFiles lists the files of an image in the order of their blocks.
func placeFiles(usr *tree.Tree) []fileBlocks {
	var files []fileBlocks
	for p, n := range usr.All() {
		content, ok := n.Blob.(*erofs.Content)
		if n.Type != tree.File || !ok {
			continue
		}
		if offset, size := content.Blocks(); size > 0 {
			files = append(files, fileBlocks{
				p, offset / payload.BlockSize, (offset + size + payload.BlockSize - 1) / payload.BlockSize,
			})
		}
	}
	slices.SortFunc(files, func(a, b fileBlocks) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.path, b.path))
	})
	// Of hard links the first name stands for all.
	return slices.CompactFunc(files, func(a, b fileBlocks) bool { return a.start == b.start })
}

// errNotUnpacked says that this machine has not built the image.
var errNotUnpacked = errors.New("not unpacked here")

// fileOwners says which package each file of an image is of, as far as the
// packages named by the image's lock are unpacked in the cache.
func fileOwners(ctx context.Context, usr *tree.Tree) (_ map[string]string, err error) {
	n := usr.Lookup(inspect.LockPath)
	if n == nil || n.Blob == nil {
		return nil, nil
	}
	r, err := n.Blob.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	locked, err := lock.Read(r, "/usr/"+inspect.LockPath)
	if err != nil {
		return nil, err
	}
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	cache, err := unpack.Open(filepath.Join(dir, "unpacked"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	owners := map[string]string{}
	for _, p := range locked.Packages {
		found, err := cache.Package(ctx, unpack.Request{
			Name: p.Name, SHA256: p.SHA256, Open: func() (io.ReadCloser, error) { return nil, errNotUnpacked },
		})
		if errors.Is(err, errNotUnpacked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for name := range found.Tree.All() {
			if rest, ok := strings.CutPrefix(name, "usr/"); ok {
				owners[rest] = p.Name
			} else {
				owners["share/slipway/"+name] = p.Name // where /etc went
			}
		}
	}
	if len(owners) == 0 {
		return nil, nil
	}
	return owners, nil
}

// spend shares the data of an operation among the files it writes.
func (c *costs) spend(op *payload.Operation, data []byte) error {
	if op.DataSize == 0 {
		return nil
	}
	curve, err := c.measure(op, data)
	if err != nil {
		return err
	}
	written, spent := int64(0), int64(0)
	for _, e := range op.Dst {
		at, end := int64(e.Start), int64(e.Start+e.Blocks)
		i, _ := slices.BinarySearchFunc(c.files, at, func(f fileBlocks, at int64) int {
			if f.ends <= at {
				return -1
			}
			return 1
		})
		for at < end {
			path, until := costOfMetadata, end
			switch {
			case at >= c.fsBlocks:
				path = costOfTree
			case i < len(c.files) && c.files[i].start <= at:
				path, until = c.files[i].path, min(end, c.files[i].ends)
				i++
			case i < len(c.files):
				until = min(end, c.files[i].start, c.fsBlocks)
			default:
				until = min(end, c.fsBlocks)
			}
			written += (until - at) * payload.BlockSize
			now := curve.at(written)
			c.spent[path] += now - spent
			at, spent = until, now
		}
	}
	return nil
}

// list gives the files and the packages that cost most. There are no packages
// if it is not known whose the files are.
func (c *costs) list(top int) (files, packages []costDoc) {
	byFile, byPackage := map[string]int64{}, map[string]int64{}
	for path, data := range c.spent {
		name, owner := "/usr/"+path, c.owners[path]
		switch {
		case strings.HasPrefix(path, "("):
			name, owner = path, path
		case path == ukiPath:
			owner = costOfKernel
		case owner == "":
			owner = costOfOthers
		}
		byFile[name] += data
		byPackage[owner] += data
	}
	if c.owners != nil {
		packages = largestCosts(byPackage, top)
	}
	return largestCosts(byFile, top), packages
}

func largestCosts(sums map[string]int64, top int) []costDoc {
	var all []costDoc
	for name, data := range sums {
		if data > 0 {
			all = append(all, costDoc{name, data})
		}
	}
	slices.SortFunc(all, func(a, b costDoc) int {
		return cmp.Or(cmp.Compare(b.Data, a.Data), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(max(top, 0), len(all))]
}

// costCurve says how much of an operation's data its output takes, up to some
// points of the output.
type costCurve []costPoint

type costPoint struct{ written, data int64 } // bytes

// at interpolates.
func (c costCurve) at(written int64) int64 {
	i := sort.Search(len(c), func(i int) bool { return c[i].written >= written })
	if i == len(c) {
		return c[len(c)-1].data
	}
	before := costPoint{}
	if i > 0 {
		before = c[i-1]
	}
	share := float64(written-before.written) / float64(c[i].written-before.written)
	return before.data + int64(share*float64(c[i].data-before.data))
}
