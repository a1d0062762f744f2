package bootengine

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"slipway/build/verity"
	"slipway/partitions"
	"slipway/signing/footer"
)

// rootDoubt says what about ROOT is a reason to verify every block before a
// slot is started; "" if nothing is.
func (e *engine) rootDoubt(d *disk) string {
	var head []byte
	if p, ok := rootPartition(d.table); ok {
		head = make([]byte, blankCheck)
		if _, err := d.file.ReadAt(head, p.Start*int64(d.table.SectorSize)); err != nil {
			head = nil
		}
	}
	return doubt(head)
}

// doubt judges by the first bytes of ROOT, nil if they cannot be read. After a
// panic over a bad block ROOT is not clean.
func doubt(head []byte) string {
	if head == nil {
		return rootLabel + " cannot be read"
	}
	plan, fs := planRoot(head)
	switch {
	case plan == rootMake && !isUnfinished(head):
		return "this disk was never started"
	case plan == rootReady && !fs.recover:
		return ""
	}
	return rootLabel + " was not left clean"
}

// howToVerify settles on full or lazy for one slot, and says why it is full if
// nobody asked for it. Hashing every block takes a second on a fast disk and
// many on a slow one, so a proven slot after an orderly shutdown goes without.
// After a kexec, the kernel before has done what was to be done.
func howToVerify(c *config, doubt string, a partitions.Attributes) (how, why string) {
	switch {
	case c.verify != verifyAuto:
		return c.verify, ""
	case c.slot != 0:
		return verifyLazy, ""
	case doubt != "":
		return verifyFull, doubt
	case !a.Successful():
		return verifyFull, "it is not proven yet"
	}
	return verifyLazy, ""
}

// verify compares the slot's blocks with the signed root hash: the tree only,
// or everything.
func verify(data, hash io.ReaderAt, ft *footer.Footer, how string) error {
	salt, err := hex.DecodeString(ft.Salt)
	if err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	root, err := hex.DecodeString(ft.RootHash)
	if err != nil || len(root) != 32 {
		return fmt.Errorf("root hash %q: not a SHA-256", ft.RootHash)
	}
	ctx := context.Background()
	if how == verifyLazy {
		return verity.VerifyTree(ctx, ft.FSSize, hash, ft.HashOffset, [32]byte(root), salt, 0)
	}
	return verity.Verify(ctx, data, ft.FSSize, hash, ft.HashOffset, [32]byte(root), salt, 0)
}
