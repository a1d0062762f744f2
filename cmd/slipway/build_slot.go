package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/google/uuid"

	"slipway/build/erofs"
	"slipway/build/tree"
	"slipway/build/verity"
	"slipway/cmd/internal/inspect"
	"slipway/signing"
	"slipway/signing/footer"
	"slipway/signing/keyset"
)

// ukiPath is where a slot keeps its own kernel, below /usr.
const ukiPath = "lib/slipway/boot.efi"

// namespace is the root of every UUID that is derived instead of random.
var namespace = uuid.MustParse("0b9d1c55-62c8-4dc0-a4b2-0d5c1f0a7a11")

// slotOptions is what a slot image is made of.
type slotOptions struct {
	usr      *tree.Tree
	boot     *boot
	name     string // of the operating system
	version  string
	floor    string // what may replace it; see footer.Footer
	arch     string
	size     int64 // of the partition, bytes
	time     int64
	workers  int
	keys     *signers
	lockText []byte
}

// writeSlot writes file system, verity tree and footer to name and gives the
// footer.
func writeSlot(ctx context.Context, name string, o *slotOptions) (_ *footer.Footer, err error) {
	trust, err := o.keys.trust.Encode()
	if err != nil {
		return nil, err
	}
	for p, blob := range map[string]tree.Blob{
		ukiPath: o.boot.uki, inspect.LockPath: tree.Bytes(o.lockText), keyset.Path: tree.Bytes(trust),
	} {
		kept := &tree.Node{Type: tree.File, Mode: 0o644, MTime: o.time, Blob: blob, Origin: "slipway"}
		if err := o.usr.Set(p, kept); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	id := uuid.NewSHA1(namespace, []byte("slot "+o.version))
	fsSize, err := erofs.Write(ctx, f, o.usr, &erofs.Options{
		UUID: id, Label: "USR", Time: o.time, Workers: o.workers,
	})
	if err != nil {
		return nil, err
	}
	if room := o.size - footer.Size; fsSize+fsSize/100 > room {
		return nil, &slotFullError{need: fsSize + fsSize/100, room: room, largest: largest(o.usr, 5)}
	}
	salt := uuid.NewSHA1(namespace, []byte("salt "+o.version))
	hash, err := verity.Format(ctx, f, fsSize, f, fsSize, &verity.Options{
		Salt: salt[:], UUID: id, Workers: o.workers,
	})
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(o.size); err != nil {
		return nil, err
	}
	sum := o.boot.uki.SHA256()
	foot := &footer.Footer{
		Format: footer.Format, Name: o.name, Version: o.version, RollbackFloor: o.floor, Architecture: o.arch,
		Development: o.keys.development,
		FSType:      "erofs", FSSize: fsSize, HashOffset: fsSize, HashSize: hash.HashSize,
		BlockSize: erofs.BlockSize, Salt: hex.EncodeToString(salt[:]),
		RootHash: hex.EncodeToString(hash.RootHash[:]),
		UKI:      footer.UKI{Path: ukiPath, SHA256: hex.EncodeToString(sum[:]), Size: o.boot.uki.Size()},
		BootID:   o.boot.id,
	}
	ctx = signing.About(ctx, fmt.Sprintf("slot footer of %s %s", o.name, o.version))
	return foot, footer.Write(ctx, f, o.size, foot, footerSigners(o.keys.image)...)
}

// slotFullError says that /usr does not fit its partition and what takes the
// room.
type slotFullError struct {
	need, room int64 // bytes
	largest    []sized
}

type sized struct {
	path string
	size int64
}

func (e *slotFullError) Error() string {
	s := fmt.Sprintf("slot: /usr with its hash tree is %s, the partition holds %s: %s too much; largest:",
		megabytes(e.need), megabytes(e.room), megabytes(e.need-e.room))
	for i, l := range e.largest {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf(" /usr/%s %s", l.path, megabytes(l.size))
	}
	return s
}

// Hint is what the user can do.
func (e *slotFullError) Hint() string {
	return "drop a package, or list what can go under `remove:` in an overlay"
}

// largest gives the directories two levels deep that hold most, largest first.
func largest(t *tree.Tree, n int) []sized {
	sums := map[string]int64{}
	for p, node := range t.All() {
		dir := path.Dir(p)
		for path.Dir(path.Dir(dir)) != "." && dir != "." {
			dir = path.Dir(dir)
		}
		sums[dir] += node.Size()
	}
	var all []sized
	for p, size := range sums {
		all = append(all, sized{p, size})
	}
	slices.SortFunc(all, func(a, b sized) int {
		if a.size != b.size {
			return int(max(-1, min(1, b.size-a.size)))
		}
		return slices.Compare([]string{a.path}, []string{b.path})
	})
	return all[:min(n, len(all))]
}

// megabytes shows bytes as people count partition sizes.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
