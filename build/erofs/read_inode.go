package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"slipway/build/tree"
)

// readInode reads an inode, its attributes, and what its type demands, except
// for a directory's entries.
func (o *opener) readInode(nid uint64) (*rawInode, error) {
	if nid > uint64(o.limit)/slotSize {
		return nil, fmt.Errorf("is outside of the image")
	}
	off := o.super.meta + int64(nid)*slotSize
	b := make([]byte, compactSize, extendedSize)
	if err := readAt(o.r, b, off, o.limit); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	format := le.Uint16(b)
	if format&^0xF != 0 {
		return nil, fmt.Errorf("unknown format %#x", format)
	}
	raw := &rawInode{
		mode: le.Uint16(b[4:]), layout: format >> 1, size: int64(le.Uint32(b[8:])),
		place: le.Uint32(b[16:]), tail: off + compactSize,
	}
	raw.node = &tree.Node{
		Mode: uint32(raw.mode) &^ modeMask, UID: uint32(le.Uint16(b[24:])),
		GID: uint32(le.Uint16(b[26:])), MTime: o.super.Time,
	}
	if format&1 != 0 {
		b = b[:extendedSize]
		if err := readAt(o.r, b, off, o.limit); err != nil {
			return nil, err
		}
		if raw.size = int64(le.Uint64(b[8:])); raw.size < 0 {
			return nil, fmt.Errorf("size %d is out of range", uint64(raw.size))
		}
		raw.node.UID, raw.node.GID = le.Uint32(b[24:]), le.Uint32(b[28:])
		raw.node.MTime = int64(le.Uint64(b[32:]))
		raw.tail = off + extendedSize
	}
	if err := o.readXattrs(raw, le.Uint16(b[2:])); err != nil {
		return nil, err
	}
	return raw, o.fillNode(raw)
}

func (o *opener) readXattrs(raw *rawInode, count uint16) error {
	if count == 0 {
		return nil
	}
	body := make([]byte, xattrHeader+(int64(count)-1)*4)
	if err := o.spend(int64(len(body))); err != nil {
		return err
	}
	if err := readAt(o.r, body, raw.tail, o.limit); err != nil {
		return err
	}
	raw.tail += int64(len(body))
	var err error
	raw.node.Xattrs, err = decodeXattrs(body, o.sharedXattr)
	return err
}

// sharedXattr reads an entry of the shared attributes; ids count words.
func (o *opener) sharedXattr(id uint32) ([]byte, error) {
	at := o.super.shared + int64(id)*4
	head := make([]byte, xattrEntry)
	if err := readAt(o.r, head, at, o.limit); err != nil {
		return nil, err
	}
	size := xattrSize(head)
	if err := o.spend(int64(size)); err != nil {
		return nil, err
	}
	entry := make([]byte, size)
	return entry, readAt(o.r, entry, at, o.limit)
}

// fillNode sets what depends on the type of the file.
func (o *opener) fillNode(raw *rawInode) (err error) {
	n := raw.node
	switch raw.mode & modeMask {
	case modeDir:
		n.Type = tree.Dir
	case modeFile:
		n.Type = tree.File
		content, err := o.content(raw)
		if err != nil {
			return err
		}
		n.Blob = content
	case modeSymlink:
		n.Type = tree.Symlink
		n.Target, err = o.readTarget(raw)
	case modeChar, modeBlock:
		n.Type = tree.Char
		if raw.mode&modeMask == modeBlock {
			n.Type = tree.Block
		}
		n.Major, n.Minor = decodeDevice(raw.place)
	case modeFifo:
		n.Type = tree.Fifo
	default:
		return fmt.Errorf("mode %o is of no supported type", raw.mode)
	}
	return err
}

func (o *opener) readTarget(raw *rawInode) (string, error) {
	content, err := o.content(raw)
	if err != nil {
		return "", err
	}
	if raw.size == 0 || raw.size > maxSymlink {
		return "", fmt.Errorf("symlink target has %d bytes, limit 1 to %d", raw.size, maxSymlink)
	}
	if err := o.spend(raw.size); err != nil {
		return "", err
	}
	b := make([]byte, raw.size)
	if _, err := io.ReadFull(io.NewSectionReader(content, 0, raw.size), b); err != nil {
		return "", err
	}
	if strings.ContainsRune(string(b), 0) {
		return "", fmt.Errorf("symlink target %q holds a NUL byte", b)
	}
	return string(b), nil
}

// content finds where an inode's content lies, and that it lies in the image.
func (o *opener) content(raw *rawInode) (*Content, error) {
	body := tree.Piece{Offset: int64(raw.place) * o.super.BlockSize, Size: raw.size}
	var tail tree.Piece
	switch raw.layout {
	case layoutPlain:
	case layoutInline:
		tail = tree.Piece{Offset: raw.tail, Size: raw.size % o.super.BlockSize}
		if tail.Size == 0 && raw.size > 0 {
			tail.Size = o.super.BlockSize
		}
		body.Size -= tail.Size
		if tail.Size > 0 && (tail.Offset%o.super.BlockSize+tail.Size > o.super.BlockSize ||
			tail.Offset+tail.Size > o.limit) {
			return nil, fmt.Errorf("inline content of %d bytes at %d crosses a block", tail.Size, tail.Offset)
		}
	case 1, 3:
		return nil, fmt.Errorf("is compressed; only uncompressed images can be read")
	case 4:
		return nil, fmt.Errorf("is stored in chunks, which are not supported")
	default:
		return nil, fmt.Errorf("unknown data layout %d", raw.layout)
	}
	if body.Size > 0 && (body.Size > o.limit || body.Offset > o.limit-body.Size) {
		return nil, fmt.Errorf("content of %d bytes at block %d is outside of the image",
			body.Size, raw.place)
	}
	return newContent(o.r, body, tail), nil
}
