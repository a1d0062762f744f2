package erofs

import (
	"encoding/binary"
	"fmt"
	"path"

	"slipway/build/tree"
)

// inlineLimit is the largest content, or last piece of a directory, that is
// stored behind its inode. Above it a file has blocks of its own: what a
// bigger limit would save is less than what block copies of unchanged files
// save in an update.
const inlineLimit = 2048

// inode is a node with its place in the image.
type inode struct {
	node     *tree.Node
	path     string // the first one, if it is hard linked
	ino      uint32
	nlink    uint32
	size     int64
	xattrs   []byte // encoded
	extended bool
	inline   bool
	tail     int64  // bytes stored behind the inode
	offset   int64  // of the inode, in the image
	block    uint32 // address of the first content block, or noBlock

	entries []dirent   // of a directory
	blocks  [][]dirent // the same, by block
}

func (i *inode) nid() uint64 { return uint64(i.offset / slotSize) }

// headSize is the size of the inode and its attributes.
func (i *inode) headSize() int64 {
	if i.extended {
		return extendedSize + int64(len(i.xattrs))
	}
	return compactSize + int64(len(i.xattrs))
}

func (i *inode) fileType() byte {
	switch i.node.Type {
	case tree.Dir:
		return ftDir
	case tree.Symlink:
		return ftSymlink
	case tree.Char:
		return ftChar
	case tree.Block:
		return ftBlock
	case tree.Fifo:
		return ftFifo
	}
	return ftFile
}

func (i *inode) mode() uint16 {
	bits := [...]uint32{
		tree.Dir: modeDir, tree.File: modeFile, tree.Symlink: modeSymlink,
		tree.Char: modeChar, tree.Block: modeBlock, tree.Fifo: modeFifo,
	}
	return uint16(bits[i.node.Type] | i.node.Mode)
}

// image is everything Write needs to know before the first byte is written.
type image struct {
	opts    *Options
	inodes  []*inode // in path order of their first paths
	meta    int64    // bytes of block 0, inodes and inline content
	dirs    uint32   // first directory block
	files   uint32   // first file content block
	blocks  int64    // in all
	extents []extent // file contents, ascending
}

// extent is a run of blocks to be filled from a file.
type extent struct {
	inode *inode
	block uint32
}

// plan lays out the whole image.
func plan(t *tree.Tree, opts *Options) (*image, error) {
	img := &image{opts: opts}
	if err := img.addNodes(t); err != nil {
		return nil, err
	}
	for _, i := range img.inodes {
		if err := img.measure(i); err != nil {
			return nil, err
		}
	}
	img.placeInodes()
	if err := img.placeContents(); err != nil {
		return nil, err
	}
	return img, nil
}

// addNodes makes one inode of every node and counts its links.
func (img *image) addNodes(t *tree.Tree) error {
	byNode := map[*tree.Node]*inode{}
	dirs := map[string]*inode{}
	for p, n := range t.All() {
		i := byNode[n]
		switch {
		case i == nil:
			i = &inode{node: n, path: p, ino: uint32(len(img.inodes) + 1), block: noBlock}
			byNode[n] = i
			img.inodes = append(img.inodes, i)
		case n.Type == tree.Dir:
			return fmt.Errorf("directory /%s: is /%s too; only other files can be hard linked",
				p, i.path)
		}
		parent := dirs[path.Dir(p)]
		if p == "." {
			parent = i
		}
		if n.Type == tree.Dir {
			dirs[p] = i
			i.nlink++ // by its own "."
			i.entries = append(i.entries, dirent{".", i}, dirent{"..", parent})
		}
		if parent == nil || parent.node.Type != tree.Dir {
			return fmt.Errorf("path /%s: its parent is not a directory", p)
		}
		if name := path.Base(p); p != "." {
			if len(name) > maxName {
				return fmt.Errorf("path /%s: name has %d bytes, limit %d", p, len(name), maxName)
			}
			parent.entries = append(parent.entries, dirent{name, i})
			i.nlink++
		}
		if n.Type == tree.Dir {
			parent.nlink++ // by this ".."; the root is its own parent
		}
	}
	return nil
}

// measure finds out the form and sizes of one inode.
func (img *image) measure(i *inode) error {
	n := i.node
	var err error
	if i.xattrs, err = encodeXattrs(n.Xattrs); err != nil {
		return fmt.Errorf("path /%s: %w", i.path, err)
	}
	switch n.Type {
	case tree.Dir:
		i.blocks, i.size = dirBlocks(i.entries)
	case tree.Symlink:
		i.size = int64(len(n.Target))
		if i.size == 0 || i.size > maxSymlink {
			return fmt.Errorf("symlink /%s: target has %d bytes, limit 1 to %d",
				i.path, i.size, maxSymlink)
		}
	case tree.File:
		i.size = n.Size()
	case tree.Char, tree.Block:
		if n.Major >= 1<<12 || n.Minor >= 1<<20 {
			return fmt.Errorf("device /%s: number %d:%d, limit 4095:1048575",
				i.path, n.Major, n.Minor)
		}
	case tree.Fifo:
	default:
		return fmt.Errorf("path /%s: %s cannot be stored", i.path, n.Type)
	}
	if n.Mode&^0o7777 != 0 {
		return fmt.Errorf("path /%s: mode %o has more than permission bits", i.path, n.Mode)
	}
	i.extended = n.UID > 0xFFFF || n.GID > 0xFFFF || i.nlink > 0xFFFF ||
		i.size > 0xFFFFFFFF || n.MTime != img.opts.Time

	// A directory keeps its full blocks elsewhere; other content is inline as
	// a whole or not at all.
	tail := i.size
	if n.Type == tree.Dir {
		tail = i.size % BlockSize
	}
	if tail > 0 && tail <= inlineLimit && i.headSize()+tail <= BlockSize {
		i.inline, i.tail = true, tail
	}
	return nil
}

// placeInodes gives every inode its offset. Inline content must not cross a
// block, and we keep the whole inode within one if it can be.
func (img *image) placeInodes() {
	pos := int64(superOffset + superSize)
	for _, i := range img.inodes {
		pos = roundUp(pos, slotSize)
		room := BlockSize - pos%BlockSize
		if want := min(i.headSize()+i.tail, BlockSize); want > room {
			pos += room
		}
		i.offset = pos
		pos += i.headSize() + i.tail
	}
	img.meta = pos
}

// placeContents gives directory blocks, then file contents, their addresses.
func (img *image) placeContents() error {
	next := roundUp(img.meta, BlockSize) / BlockSize
	img.dirs = uint32(next)
	for _, i := range img.inodes {
		if n := i.contentBlocks(); n > 0 && i.node.Type != tree.File {
			i.block = uint32(next)
			next += n
		}
	}
	img.files = uint32(next)
	type content struct {
		sum  [32]byte
		size int64
	}
	placed := map[content]uint32{}
	for _, i := range img.inodes {
		n := i.contentBlocks()
		if n == 0 || i.node.Type != tree.File {
			continue
		}
		key := content{i.node.Blob.SHA256(), i.size}
		if block, ok := placed[key]; ok {
			i.block = block
			continue
		}
		if next+n >= noBlock {
			return fmt.Errorf("file /%s: image grows beyond 2^32 blocks", i.path)
		}
		i.block = uint32(next)
		placed[key] = i.block
		img.extents = append(img.extents, extent{i, i.block})
		next += n
	}
	img.blocks = next
	return nil
}

// contentBlocks is the number of blocks an inode has outside the inode area.
func (i *inode) contentBlocks() int64 {
	switch i.node.Type {
	case tree.Dir, tree.File, tree.Symlink:
		return roundUp(i.size-i.tail, BlockSize) / BlockSize
	}
	return 0
}

// encode writes the inode and its attributes to b, which starts at its offset.
func (i *inode) encode(b []byte) {
	le := binary.LittleEndian
	layout := uint16(layoutPlain)
	if i.inline {
		layout = layoutInline
	}
	place := i.block
	if i.node.Type == tree.Char || i.node.Type == tree.Block {
		place = encodeDevice(i.node.Major, i.node.Minor)
	}
	if len(i.xattrs) > 0 {
		le.PutUint16(b[2:], uint16((len(i.xattrs)-xattrHeader)/4+1))
	}
	le.PutUint16(b[4:], i.mode())
	le.PutUint32(b[16:], place)
	le.PutUint32(b[20:], i.ino)
	if i.extended {
		le.PutUint16(b, layout<<1|1)
		le.PutUint64(b[8:], uint64(i.size))
		le.PutUint32(b[24:], i.node.UID)
		le.PutUint32(b[28:], i.node.GID)
		le.PutUint64(b[32:], uint64(i.node.MTime))
		le.PutUint32(b[44:], i.nlink)
		copy(b[extendedSize:], i.xattrs)
		return
	}
	le.PutUint16(b, layout<<1)
	le.PutUint16(b[6:], uint16(i.nlink))
	le.PutUint32(b[8:], uint32(i.size))
	le.PutUint16(b[24:], uint16(i.node.UID))
	le.PutUint16(b[26:], uint16(i.node.GID))
	copy(b[compactSize:], i.xattrs)
}
