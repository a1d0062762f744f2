package erofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"

	"slipway/build/tree"
)

const (
	// maxMetadata bounds what Open keeps of an image in memory: names, paths,
	// targets, attributes, directories. The /usr of a full desktop needs some
	// ten MiB.
	maxMetadata = 256 << 20

	maxPath = 4096
)

// Super is what an image says about itself.
type Super struct {
	UUID      [16]byte
	Label     string
	Time      int64 // seconds since 1970
	Inodes    int64
	Blocks    int64 // in all
	BlockSize int64 // bytes
	Checksum  bool  // whether the superblock had a checksum; it was right then

	root   uint64
	meta   int64 // where inode 0 would lie, bytes
	shared int64 // where shared attributes lie, bytes
}

// ReadSuper reads and checks the superblock of an image of the given size.
func ReadSuper(r io.ReaderAt, size int64) (*Super, error) {
	b := make([]byte, superSize)
	if err := readAt(r, b, superOffset, size); err != nil {
		return nil, fmt.Errorf("erofs superblock: %w", err)
	}
	le := binary.LittleEndian
	if got := le.Uint32(b); got != magic {
		return nil, fmt.Errorf("erofs superblock: magic number is %#x, should be %#x", got, magic)
	}
	if b[12] < 9 || b[12] > 16 {
		return nil, fmt.Errorf("erofs superblock: block size is 2^%d, supported are 2^9 to 2^16", b[12])
	}
	if other := le.Uint32(b[80:]) &^ incompatHarmless; other != 0 {
		return nil, fmt.Errorf("erofs superblock: unsupported features %#x", other)
	}
	s := &Super{
		UUID: [16]byte(b[48:64]), Label: cString(b[64:80]), Time: int64(le.Uint64(b[24:])),
		Inodes: int64(le.Uint64(b[16:])), Blocks: int64(le.Uint32(b[36:])), BlockSize: 1 << b[12],
		Checksum: le.Uint32(b[8:])&compatChecksum != 0,
		root:     uint64(le.Uint16(b[14:])), meta: int64(le.Uint32(b[40:])) << b[12],
		shared: int64(le.Uint32(b[44:])) << b[12],
	}
	if s.Blocks*s.BlockSize > size {
		return nil, fmt.Errorf("erofs superblock: image has %d blocks of %d bytes, %d bytes are there",
			s.Blocks, s.BlockSize, size)
	}
	if s.Checksum {
		length := s.BlockSize
		if length <= superOffset { // the superblock is not in the first block
			length += superOffset
		}
		block := make([]byte, length)
		if err := readAt(r, block, 0, size); err != nil {
			return nil, fmt.Errorf("erofs superblock: %w", err)
		}
		if got, want := superChecksum(block), le.Uint32(b[4:]); got != want {
			return nil, fmt.Errorf("erofs superblock: checksum is %08x, should be %08x", got, want)
		}
	}
	return s, nil
}

// Open reads an uncompressed image of size bytes into a tree. Contents stay in
// r, which must remain readable as long as the tree is used; their digests are
// computed when first asked for. Blobs of the tree are *Content.
//
// The image may be hostile: memory is bounded, and directories that contain
// themselves, blocks outside of the image, unsorted or impossible names and
// whatever else a tree cannot hold are errors that name the path. A compressed
// file is such an error.
func Open(r io.ReaderAt, size int64) (*tree.Tree, error) {
	super, err := ReadSuper(r, size)
	if err != nil {
		return nil, err
	}
	o := &opener{
		r: r, super: super, limit: super.Blocks * super.BlockSize,
		tree: tree.New(), seen: map[uint64]*tree.Node{}, budget: maxMetadata,
	}
	if err := o.walk(); err != nil {
		return nil, fmt.Errorf("erofs: %w", err)
	}
	return o.tree, nil
}

type opener struct {
	r      io.ReaderAt
	super  *Super
	limit  int64 // end of the image
	tree   *tree.Tree
	seen   map[uint64]*tree.Node
	budget int64 // bytes of metadata left
}

// rawInode is an inode as read.
type rawInode struct {
	mode   uint16
	layout uint16
	size   int64
	place  uint32 // block or device
	tail   int64  // offset of what follows the inode and its attributes
	node   *tree.Node
}

type pending struct {
	path string
	nid  uint64
	up   uint64
}

// walk reads all directories. Each inode is read once, and a directory that is
// reached twice is an error, so it ends.
func (o *opener) walk() error {
	queue := []pending{{".", o.super.root, o.super.root}}
	for len(queue) > 0 {
		p := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		more, err := o.visit(p)
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join("/", p.path), err)
		}
		queue = append(queue, more...)
	}
	return nil
}

// visit puts one path into the tree and returns what is below it.
func (o *opener) visit(p pending) ([]pending, error) {
	if node := o.seen[p.nid]; node != nil {
		if node.Type == tree.Dir {
			return nil, fmt.Errorf("directory with inode %d is reached twice", p.nid)
		}
		return nil, o.tree.Set(p.path, node)
	}
	raw, err := o.readInode(p.nid)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", p.nid, err)
	}
	o.seen[p.nid] = raw.node
	if p.path == "." && raw.node.Type != tree.Dir {
		return nil, fmt.Errorf("is a %s, not a directory", raw.node.Type)
	}
	if err := o.tree.Set(p.path, raw.node); err != nil || raw.node.Type != tree.Dir {
		return nil, err
	}
	content, err := o.content(raw)
	if err != nil {
		return nil, err
	}
	return o.readDir(p, content)
}

func (o *opener) readDir(p pending, c *Content) ([]pending, error) {
	if err := o.spend(c.Size()); err != nil {
		return nil, err
	}
	b := make([]byte, c.Size())
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, c.Size()), b); err != nil {
		return nil, err
	}
	entries, err := decodeDir(b, int(o.super.BlockSize))
	if err != nil {
		return nil, err
	}
	more := make([]pending, 0, len(entries))
	for _, e := range entries {
		switch e.name {
		case ".":
			if e.nid != p.nid {
				return nil, fmt.Errorf("directory entry \".\" is inode %d, should be %d", e.nid, p.nid)
			}
		case "..":
			if e.nid != p.up {
				return nil, fmt.Errorf("directory entry \"..\" is inode %d, should be %d", e.nid, p.up)
			}
		default:
			child := path.Join(p.path, e.name)
			if len(child) > maxPath {
				return nil, fmt.Errorf("path of %d bytes, limit %d", len(child), maxPath)
			}
			// 200 bytes stand for the node and its places in maps.
			if err := o.spend(int64(len(child)) + 200); err != nil {
				return nil, err
			}
			more = append(more, pending{child, e.nid, p.nid})
		}
	}
	return more, nil
}

// spend accounts for metadata that is about to be held in memory.
func (o *opener) spend(n int64) error {
	if n > o.budget {
		return fmt.Errorf("image has more than %d bytes of metadata", int64(maxMetadata))
	}
	o.budget -= n
	return nil
}

// readAt fills b from the first size bytes of r.
func readAt(r io.ReaderAt, b []byte, off, size int64) error {
	if off < 0 || off > size || int64(len(b)) > size-off {
		return fmt.Errorf("bytes %d to %d are outside of the image's %d", off, off+int64(len(b)), size)
	}
	if n, err := r.ReadAt(b, off); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read at %d: %w", off, err)
	}
	return nil
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
