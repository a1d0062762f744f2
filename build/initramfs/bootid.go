package initramfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"slipway/build/tree"
)

// BootID identifies what a boot runs: the hex SHA-256 over kernel, initramfs
// (as Write wrote it, without the id file) and command line, each preceded by
// its length as a 64-bit little-endian number. A slot whose footer names the id
// of the running initramfs needs no other kernel.
func BootID(kernel, initramfs []byte, cmdline string) string {
	h := sha256.New()
	for _, part := range [][]byte{kernel, initramfs, []byte(cmdline)} {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Seal appends a second, uncompressed archive to an initramfs of Write: it
// holds the boot id. So the id can cover the first, and nothing is compressed
// twice. time is the modification time, seconds since 1970.
func Seal(initramfs []byte, id string, time int64) ([]byte, error) {
	if len(initramfs)%4 != 0 {
		return nil, fmt.Errorf("initramfs: %d bytes are not a multiple of 4", len(initramfs))
	}
	archive, err := File(BootIDPath, []byte(id+"\n"), time)
	return append(bytes.Clone(initramfs), archive...), err
}

// File is an uncompressed archive of one file, to be appended to an initramfs.
// Its directory must be there. time is its modification time, seconds since
// 1970.
func File(path string, content []byte, time int64) ([]byte, error) {
	t := tree.New()
	node := &tree.Node{Type: tree.File, Mode: 0o644, Blob: tree.Bytes(content)}
	if err := t.Set(path, node); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := writeArchive(&out, &Options{Tree: t, Time: time}); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return out.Bytes(), nil
}
