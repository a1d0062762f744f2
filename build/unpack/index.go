package unpack

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"slipway/build/deb"
	"slipway/build/tree"
)

// The file "tree" of a cache entry. All integers of the head are little
// endian; "n" below is an unsigned varint (encoding/binary), "s" is n and that
// many bytes, "sum" is 32 bytes of SHA-256.
//
//	head: magic "SLIPTREE", u32 version, u32 0, u64 size of the body,
//	      u64 size of the data file, sum of the body
//	body: n fields,        each s name, s value
//	      n control files, each s name, content
//	      n paths in the order of tree.Paths, each
//	          n bytes shared with the path before, s rest of the path
//	          n type (tree.Type, or 15 and n index of an earlier path: hard link)
//	          n mode, n uid, n gid, n mtime (zigzag)
//	          n extended attributes, each s name, s value
//	          file: content; symlink: s target; device: n major, n minor
//	content: n offset in the data file, n size, sum
//
// indexVersion also stands for what unpacking does to paths and modules: it
// must change with any change there.
const (
	indexMagic    = "SLIPTREE"
	indexVersion  = 1
	indexHeadSize = 8 + 4 + 4 + 8 + 8 + sha256.Size
	maxIndexSize  = 1 << 30
	typeHardLink  = 15
)

// encoder builds the body.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) string(s string) { e.uint(uint64(len(s))); e.b = append(e.b, s...) }

func (e *encoder) pairs(m map[string]string) {
	e.uint(uint64(len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		e.string(name)
		e.string(m[name])
	}
}

func (e *encoder) content(b tree.Blob) {
	s := b.(*section)
	e.uint(uint64(s.offset))
	e.uint(uint64(s.size))
	e.b = append(e.b, s.sum[:]...)
}

// encodeIndex writes the tree file of a package whose Blobs are sections.
func encodeIndex(p *Package, dataSize int64) []byte {
	e := &encoder{b: make([]byte, indexHeadSize, indexHeadSize+96*p.Tree.Len())}
	e.pairs(p.Fields)
	e.uint(uint64(len(p.Control)))
	for _, name := range slices.Sorted(maps.Keys(p.Control)) {
		e.string(name)
		e.content(p.Control[name])
	}
	e.uint(uint64(p.Tree.Len()))
	first, before, i := map[*tree.Node]int{}, "", 0
	for path, n := range p.Tree.All() {
		shared := sharedPrefix(before, path)
		e.uint(uint64(shared))
		e.string(path[shared:])
		e.node(n, first, i)
		before = path
		i++
	}

	body, head := e.b[indexHeadSize:], e.b[:indexHeadSize]
	sum := sha256.Sum256(body)
	copy(head, indexMagic)
	binary.LittleEndian.PutUint32(head[8:], indexVersion)
	binary.LittleEndian.PutUint64(head[16:], uint64(len(body)))
	binary.LittleEndian.PutUint64(head[24:], uint64(dataSize))
	copy(head[32:], sum[:])
	return e.b
}

func (e *encoder) node(n *tree.Node, first map[*tree.Node]int, i int) {
	if n.Type == tree.File {
		if at, seen := first[n]; seen {
			e.uint(typeHardLink)
			e.uint(uint64(at))
			return
		}
		first[n] = i
	}
	e.uint(uint64(n.Type))
	e.uint(uint64(n.Mode))
	e.uint(uint64(n.UID))
	e.uint(uint64(n.GID))
	e.int(n.MTime)
	e.pairs(n.Xattrs)
	switch n.Type {
	case tree.File:
		e.content(n.Blob)
	case tree.Symlink:
		e.string(n.Target)
	case tree.Char, tree.Block:
		e.uint(uint64(n.Major))
		e.uint(uint64(n.Minor))
	}
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// decodeHead checks head and digest and gives the body and the size that the
// data file must have.
func decodeHead(index []byte) (body []byte, dataSize int64, err error) {
	if len(index) < indexHeadSize || string(index[:8]) != indexMagic {
		return nil, 0, errors.New("not an index")
	}
	if v := binary.LittleEndian.Uint32(index[8:]); v != indexVersion {
		return nil, 0, fmt.Errorf("index version %d, not %d", v, indexVersion)
	}
	body = index[indexHeadSize:]
	if want := binary.LittleEndian.Uint64(index[16:]); want != uint64(len(body)) {
		return nil, 0, fmt.Errorf("index has %d bytes, not %d", len(body), want)
	}
	if sum := sha256.Sum256(body); string(sum[:]) != string(index[32:indexHeadSize]) {
		return nil, 0, errors.New("index digest is wrong")
	}
	return body, int64(binary.LittleEndian.Uint64(index[24:])), nil
}

// decoder reads the body. The first error stays; every later value is zero.
type decoder struct {
	b    string
	size int64 // of the data file
	file *dataFile
	err  error
}

func (d *decoder) fail(text string) {
	if d.err == nil {
		d.err = errors.New("index: " + text)
	}
	d.b = ""
}

func (d *decoder) uint() uint64 {
	var v uint64
	for i := 0; i < len(d.b) && i < binary.MaxVarintLen64; i++ {
		c := d.b[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.b = d.b[i+1:]
			return v
		}
	}
	d.fail("number is cut short")
	return 0
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

// count reads a number of items that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail("count is too large")
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) string {
	if n > len(d.b) {
		d.fail("text is cut short")
		return ""
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) string() string { return d.bytes(d.count(1)) }

func (d *decoder) pairs() map[string]string {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		name := d.string()
		m[name] = d.string()
	}
	return m
}

func (d *decoder) content(s *section) {
	offset, size := d.uint(), d.uint()
	if offset > uint64(d.size) || size > uint64(d.size)-offset {
		d.fail("content lies outside the data file")
	}
	s.file, s.offset, s.size = d.file, int64(offset), int64(size)
	copy(s.sum[:], d.bytes(sha256.Size))
}

// decodeBody rebuilds the package.
func decodeBody(body []byte, dataSize int64, file *dataFile) (*Package, error) {
	d := &decoder{b: string(body), size: dataSize, file: file}
	p := &Package{Fields: deb.Fields(d.pairs()), Control: map[string]tree.Blob{}, Tree: tree.New()}
	for range d.count(34) {
		name, s := d.string(), &section{}
		d.content(s)
		p.Control[name] = s
	}
	p.describe()
	d.paths(p.Tree, "package "+p.Name)
	if d.err == nil && d.b != "" {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

// minPath is the least number of bytes of a path: a hard link "a".
const minPath = 4

func (d *decoder) paths(t *tree.Tree, origin string) {
	n := d.count(minPath)
	nodes := make([]tree.Node, n)
	byIndex := make([]*tree.Node, n)
	sections := make([]section, n)
	before := ""
	for i := range n {
		shared := d.uint()
		if shared > uint64(len(before)) {
			d.fail("path shares too much")
		}
		if d.err != nil {
			return
		}
		path := before[:shared] + d.string()
		if clean, err := tree.Clean(path); err != nil || clean != path {
			d.fail("path is not clean")
			return
		}
		before = path
		if byIndex[i] = &nodes[i]; !d.node(&nodes[i], &sections[i]) {
			at := d.uint()
			if at >= uint64(i) || byIndex[at].Type != tree.File {
				d.fail("hard link to no file")
				return
			}
			byIndex[i] = byIndex[at]
		}
		byIndex[i].Origin = origin
		if err := t.Set(path, byIndex[i]); err != nil {
			d.fail(err.Error())
			return
		}
	}
	if t.Lookup(".").Type != tree.Dir {
		d.fail("root is no directory")
	}
}

// node reads one node; false stands for a hard link.
func (d *decoder) node(n *tree.Node, s *section) bool {
	kind := d.uint()
	if kind == typeHardLink {
		return false
	}
	if kind > uint64(tree.Fifo) {
		d.fail("type is not known")
		return true
	}
	n.Type = tree.Type(kind)
	n.Mode = uint32(d.uint())
	n.UID = uint32(d.uint())
	n.GID = uint32(d.uint())
	n.MTime = d.int()
	n.Xattrs = d.pairs()
	switch n.Type {
	case tree.File:
		d.content(s)
		n.Blob = s
	case tree.Symlink:
		n.Target = d.string()
	case tree.Char, tree.Block:
		n.Major, n.Minor = uint32(d.uint()), uint32(d.uint())
	}
	return true
}
