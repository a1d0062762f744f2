package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"slipway/build/erofs"
	"slipway/build/tree"
	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/signing/payload"
)

// fileBlocks is where a file lies in a slot image, in blocks.
type fileBlocks struct {
	name        string
	start, ends int64
}

// payloadCosts assigns the bytes of a payload to the files they end up in. The
// image is the one named, or the one beside the payload if it is the right one;
// without an image there is no answer.
func payloadCosts(image, beside string, m *payload.Manifest) (*costs, error) {
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
	defer slot.Close()
	if slot.footer.RootHash != m.Info.RootHash {
		if image == "" {
			return nil, nil
		}
		return nil, hint.Add(fmt.Errorf("%s: is version %s, root hash %.16s; the payload leads to %s, root hash %.16s",
			slot.Name(), slot.footer.Version, slot.footer.RootHash, m.Info.Version, m.Info.RootHash),
			"--image RELEASE of version %s", m.Info.Version)
	}
	usr, err := erofs.Open(slot, slot.footer.FSSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", slot.Name(), err)
	}
	files, fsBlocks := placeFiles(usr), slot.footer.FSSize/payload.BlockSize
	c := &costs{files: map[string]int64{}, packages: map[string]int64{}}
	for i := range m.Operations {
		c.spend(&m.Operations[i], files, fsBlocks)
	}
	return c, nil
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
				"/usr/" + p, offset / payload.BlockSize, (offset + size + payload.BlockSize - 1) / payload.BlockSize,
			})
		}
	}
	slices.SortFunc(files, func(a, b fileBlocks) int {
		if a.start != b.start {
			return int(a.start - b.start)
		}
		return slices.Compare([]string{a.name}, []string{b.name})
	})
	// Of hard links the first name stands for all.
	return slices.CompactFunc(files, func(a, b fileBlocks) bool { return a.start == b.start })
}

// spend shares the data of an operation among the files it writes, by blocks.
func (c *costs) spend(op *payload.Operation, files []fileBlocks, fsBlocks int64) {
	if op.DataSize == 0 {
		return
	}
	total := op.DstSize() / payload.BlockSize
	left, blocks := op.DataSize, total
	give := func(name string, n int64) {
		share := left * n / blocks // of what is left, so that all adds up
		left, blocks = left-share, blocks-n
		c.files[name] += share
	}
	for _, e := range op.Dst {
		at, end := int64(e.Start), int64(e.Start+e.Blocks)
		i, _ := slices.BinarySearchFunc(files, at, func(f fileBlocks, at int64) int {
			if f.ends <= at {
				return -1
			}
			return 1
		})
		for at < end {
			name, until := "(metadata of the file system)", end
			switch {
			case at >= fsBlocks:
				name = "(hash tree and footer)"
			case i < len(files) && files[i].start <= at:
				name, until = files[i].name, min(end, files[i].ends)
				i++
			case i < len(files):
				until = min(end, files[i].start, fsBlocks)
			default:
				until = min(end, fsBlocks)
			}
			give(name, until-at)
			at = until
		}
	}
}
