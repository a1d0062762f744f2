package erofs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// dirent is one name in a directory, "." and ".." included.
type dirent struct {
	name  string
	inode *inode
}

// dirBlocks splits entries, sorted by name as the kernel's binary search wants
// them, into blocks and says how many bytes the directory has: all blocks but
// the last count in full.
func dirBlocks(entries []dirent) (blocks [][]dirent, size int64) {
	slices.SortFunc(entries, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	used, start := 0, 0
	for i, e := range entries {
		need := direntSize + len(e.name)
		if used+need > BlockSize {
			blocks = append(blocks, entries[start:i])
			used, start = 0, i
		}
		used += need
	}
	blocks = append(blocks, entries[start:])
	return blocks, int64(len(blocks)-1)*BlockSize + int64(used)
}

// encodeDir gives a directory's content. Every inode must have its place.
func encodeDir(blocks [][]dirent, size int64) []byte {
	content := make([]byte, size)
	for i, entries := range blocks {
		block := content[i*BlockSize:]
		nameOff := len(entries) * direntSize
		for j, e := range entries {
			d := block[j*direntSize:]
			binary.LittleEndian.PutUint64(d, e.inode.nid())
			binary.LittleEndian.PutUint16(d[8:], uint16(nameOff))
			d[10] = e.inode.fileType()
			nameOff += copy(block[nameOff:], e.name)
		}
	}
	return content
}

// rawDirent is a directory entry as read.
type rawDirent struct {
	name string
	nid  uint64
}

// decodeDir parses a directory's content. It demands what the kernel's lookup
// rests on: names in strictly ascending order.
func decodeDir(content []byte, blockSize int) ([]rawDirent, error) {
	var entries []rawDirent
	for off := 0; off < len(content); off += blockSize {
		block := content[off:min(len(content), off+blockSize)]
		var err error
		if entries, err = decodeDirBlock(entries, block); err != nil {
			return nil, fmt.Errorf("directory block %d: %w", off/blockSize, err)
		}
	}
	for i := 1; i < len(entries); i++ {
		if entries[i-1].name >= entries[i].name {
			return nil, fmt.Errorf("directory entry %q: follows %q, not in order",
				entries[i].name, entries[i-1].name)
		}
	}
	return entries, nil
}

func decodeDirBlock(entries []rawDirent, block []byte) ([]rawDirent, error) {
	if len(block) < direntSize {
		return nil, fmt.Errorf("%d bytes, too short for an entry", len(block))
	}
	first := int(binary.LittleEndian.Uint16(block[8:]))
	if first < direntSize || first%direntSize != 0 || first >= len(block) {
		return nil, fmt.Errorf("names start at byte %d of %d", first, len(block))
	}
	for d := 0; d < first; d += direntSize {
		from, to := int(binary.LittleEndian.Uint16(block[d+8:])), len(block)
		last := d+direntSize == first
		if !last {
			to = int(binary.LittleEndian.Uint16(block[d+direntSize+8:]))
		}
		if from < first || from >= to || to > len(block) {
			return nil, fmt.Errorf("entry %d: name is bytes %d to %d of %d",
				d/direntSize, from, to, len(block))
		}
		name := block[from:to]
		if last {
			name, _, _ = bytes.Cut(name, []byte{0})
		}
		if len(name) == 0 || len(name) > maxName || bytes.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("entry %d: bad name %q", d/direntSize, name)
		}
		entries = append(entries, rawDirent{string(name), binary.LittleEndian.Uint64(block[d:])})
	}
	return entries, nil
}
