package bootengine

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"slipway/build/verity"
	"slipway/signing/footer"
)

// planVerify settles on full or lazy. Hashing every block takes a second on a
// fast disk and many on a slow one, so it is done when there is a reason: ROOT
// was not unmounted in order, as after a panic over a bad block.
func (e *engine) planVerify(d *disk) {
	if e.config.verify != verifyAuto {
		return
	}
	var head []byte
	if p, ok := rootPartition(d.table); ok {
		head = make([]byte, blankCheck)
		if _, err := d.file.ReadAt(head, p.Start*int64(d.table.SectorSize)); err != nil {
			head = nil
		}
	}
	var why string
	e.config.verify, why = autoVerify(e.config.slot, head)
	if why != "" {
		e.say("%s: verifying every block of the slot first", why)
	}
}

// autoVerify decides between full and lazy by the first bytes of ROOT, nil if
// they cannot be read, and says why it is full. After a kexec the first kernel
// has done what was to be done.
func autoVerify(given int, head []byte) (how, why string) {
	if given != 0 {
		return verifyLazy, ""
	}
	if head == nil {
		return verifyFull, rootLabel + " cannot be read"
	}
	plan, fs := planRoot(head)
	switch {
	case plan == rootReady && !fs.recover:
		return verifyLazy, ""
	case plan == rootMake && !isUnfinished(head):
		return verifyLazy, "" // the first boot of a new disk
	}
	return verifyFull, rootLabel + " was not left clean"
}

// verify compares the slot's blocks with the signed root hash: the tree only,
// or everything.
func verify(f *os.File, ft *footer.Footer, how string) error {
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
		return verity.VerifyTree(ctx, ft.FSSize, f, ft.HashOffset, [32]byte(root), salt, 0)
	}
	err = verity.Verify(ctx, f, ft.FSSize, f, ft.HashOffset, [32]byte(root), salt, 0)
	// The kernel reads through the device mapper and not what was cached here.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return err
}
