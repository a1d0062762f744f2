package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"slipway/build/initramfs"
	"slipway/build/tree"
	"slipway/build/uki"
	"slipway/signing/key"
	"slipway/signing/keyset"
)

const (
	maxUKI     = 128 << 20 // bytes
	maxArchive = 512 << 20 // bytes of the unpacked initramfs
	maxSetFile = 256 << 10 // bytes
)

// Trust says whom the image in a slot takes orders from.
type Trust struct {
	// Slots are the keys in the initramfs: they may vouch for slots.
	Slots []key.Key
	// Set is the key set below /usr, whose payload keys may vouch for updates;
	// nil if the image is older than key sets.
	Set *keyset.Set
}

// Trust reads the keys out of the slot's file system and the kernel image in
// it.
func (s *SlotInfo) Trust() (*Trust, error) {
	if s.Footer == nil {
		return nil, errors.New("slot: no footer")
	}
	usr, err := s.Usr()
	if err != nil {
		return nil, err
	}
	t := new(Trust)
	if n := usr.Lookup(keyset.Path); n != nil {
		text, err := content(n, "/usr/"+keyset.Path, maxSetFile)
		if err != nil {
			return nil, err
		}
		file, err := keyset.Read(text)
		if err != nil {
			return nil, fmt.Errorf("/usr/%s: %w", keyset.Path, err)
		}
		t.Set = file.Set
	}
	name := "/usr/" + s.Footer.UKI.Path
	kernel, err := content(usr.Lookup(s.Footer.UKI.Path), name, maxUKI)
	if err != nil {
		return nil, err
	}
	if t.Slots, err = initramfsKeys(kernel); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// content reads a file of at most limit bytes.
func content(n *tree.Node, name string, limit int64) ([]byte, error) {
	if n == nil || n.Blob == nil {
		return nil, fmt.Errorf("%s: not in the slot", name)
	}
	if n.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", name, n.Size(), limit)
	}
	return tree.ReadAll(n.Blob)
}

// initramfsKeys reads the keys out of the initramfs of a kernel image.
func initramfsKeys(kernel []byte) ([]key.Key, error) {
	image, err := uki.Read(bytes.NewReader(kernel), int64(len(kernel)))
	if err != nil {
		return nil, err
	}
	section, err := image.Section(".initrd")
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(section.Open(), zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	defer z.Close()
	var keys []key.Key
	for archive := cpio.NewReader(io.LimitReader(z, maxArchive)); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return keys, nil
		}
		if err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
		if path.Dir(h.Name) != initramfs.KeyDir || !strings.HasSuffix(h.Name, ".pem") {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(archive, 64<<10))
		if err != nil {
			return nil, fmt.Errorf("initramfs: %s: %w", h.Name, err)
		}
		k, err := key.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("initramfs: %s: %w", h.Name, err)
		}
		keys = append(keys, k)
	}
}
