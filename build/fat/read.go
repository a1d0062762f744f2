package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"

	"slipway/build/tree"
)

const (
	maxPath    = 4096
	maxEntries = 1 << 20 // paths of a tree: what is kept in memory
)

// Open reads a FAT32 file system of size bytes into a tree. Contents stay in
// r, which must remain readable as long as the tree is used; their digests are
// computed when first asked for. Directories have mode 0755, files 0644.
//
// The bytes may be hostile: memory is bounded by the size, and chains that
// loop, join or end early, clusters that do not exist, impossible names and a
// name that occurs twice are errors that name the path. A long name that does
// not belong to the short one it precedes is passed over, as by others.
func Open(r io.ReaderAt, size int64) (*tree.Tree, error) {
	g, err := readGeometry(r, size)
	if err != nil {
		return nil, fmt.Errorf("fat: %w", err)
	}
	o := &opener{
		geometry: g, r: r, tree: tree.New(),
		used: make([]uint64, (g.clusters+rootCluster)/64+1),
	}
	if err := o.walk(); err != nil {
		return nil, fmt.Errorf("fat: %w", err)
	}
	return o.tree, nil
}

// readGeometry reads the boot sector and checks that it describes a FAT32 file
// system within size bytes.
func readGeometry(r io.ReaderAt, size int64) (*geometry, error) {
	b := make([]byte, 512)
	if err := readFull(r, b, 0, size); err != nil {
		return nil, fmt.Errorf("boot sector: %w", err)
	}
	le := binary.LittleEndian
	g := &geometry{
		sector: int64(le.Uint16(b[11:])), perCluster: int64(b[13]),
		reserved: int64(le.Uint16(b[14:])), fat: int64(le.Uint32(b[36:])),
		sectors: int64(le.Uint32(b[32:])), copies: int64(b[16]),
		info: int64(le.Uint16(b[48:])), single: le.Uint16(b[40:])&noMirror != 0,
	}
	switch {
	case b[510] != 0x55 || b[511] != 0xAA:
		return nil, fmt.Errorf("boot sector: signature is %#x, should be 0x55aa", b[510:512])
	case g.sector < 512 || g.sector > 4096 || g.sector&(g.sector-1) != 0:
		return nil, fmt.Errorf("boot sector: sectors of %d bytes", g.sector)
	case g.perCluster == 0 || g.perCluster&(g.perCluster-1) != 0:
		return nil, fmt.Errorf("boot sector: clusters of %d sectors", g.perCluster)
	case le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0 || g.fat == 0:
		return nil, fmt.Errorf("boot sector: file system is FAT12 or FAT16, not FAT32")
	case g.reserved == 0 || b[16] == 0:
		return nil, fmt.Errorf("boot sector: %d reserved sectors and %d FATs", g.reserved, b[16])
	case g.sectors == 0 || g.sectors*g.sector > size:
		return nil, fmt.Errorf("boot sector: file system has %d sectors of %d bytes, %d bytes are there",
			g.sectors, g.sector, size)
	}
	g.data = g.reserved + g.copies*g.fat
	g.clusters = (g.sectors - g.data) / g.perCluster
	if g.clusters < minClusters || g.clusters > maxClusters {
		return nil, fmt.Errorf("boot sector: %d clusters, FAT32 has %d to %d",
			g.clusters, minClusters, maxClusters)
	}
	if g.fat*g.sector/4 < g.clusters+rootCluster {
		return nil, fmt.Errorf("boot sector: FAT of %d sectors is too small for %d clusters",
			g.fat, g.clusters)
	}
	g.root = le.Uint32(b[44:])
	return g, nil
}

type opener struct {
	*geometry
	r      io.ReaderAt
	tree   *tree.Tree
	used   []uint64 // a bit for each cluster that belongs to something
	window []byte   // part of the FAT
	at     int64    // where the window starts, in bytes of the FAT

	// visit, if set, is called for every entry, with where it lies.
	visit func(path string, e rawEntry, off int64)
}

type pending struct {
	path  string
	first uint32
}

func (o *opener) walk() error {
	for queue := []pending{{".", o.root}}; len(queue) > 0; {
		p := queue[len(queue)-1]
		more, err := o.readDir(p)
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join("/", p.path), err)
		}
		queue = append(queue[:len(queue)-1], more...)
	}
	return nil
}

// readDir puts a directory's entries into the tree and returns the directories
// among them.
func (o *opener) readDir(p pending) ([]pending, error) {
	runs, length, err := o.chain(p.first)
	if err != nil {
		return nil, err
	}
	if length > maxDirEntries*entrySize {
		return nil, fmt.Errorf("directory of %d bytes, limit %d", length, maxDirEntries*entrySize)
	}
	dir, content := make([]byte, length), tree.NewPieces(o.r, runs...)
	if _, err := content.ReadAt(dir, 0); err != nil {
		return nil, err
	}
	entries, err := decodeDir(dir)
	if err != nil {
		return nil, err
	}
	var more []pending
	for _, e := range entries {
		if e.name == "." || e.name == ".." {
			continue
		}
		child := path.Join(p.path, e.name)
		switch {
		case len(child) > maxPath:
			return nil, fmt.Errorf("path of %d bytes, limit %d", len(child), maxPath)
		case o.tree.Lookup(child) != nil:
			return nil, fmt.Errorf("directory entry %q: present twice", e.name)
		case o.tree.Len() >= maxEntries:
			return nil, fmt.Errorf("more than %d files and directories", maxEntries)
		}
		n, err := o.node(e)
		if err != nil {
			return nil, fmt.Errorf("directory entry %q: %w", e.name, err)
		}
		if o.visit != nil {
			o.visit(child, e, place(runs, int64(e.at)))
		}
		if n.Type == tree.Dir {
			more = append(more, pending{child, e.first})
		}
		if err := o.tree.Set(child, n); err != nil {
			return nil, err
		}
	}
	return more, nil
}

func (o *opener) node(e rawEntry) (*tree.Node, error) {
	if e.dir {
		return &tree.Node{Type: tree.Dir, Mode: 0o755, MTime: e.mtime}, nil
	}
	n := &tree.Node{Type: tree.File, Mode: 0o644, MTime: e.mtime}
	if e.size == 0 {
		n.Blob = tree.Bytes(nil)
		if o.visit != nil && e.first != 0 {
			_, _, err := o.chain(e.first) // its clusters are in use all the same
			return n, err
		}
		return n, nil
	}
	runs, length, err := o.chain(e.first)
	if err != nil {
		return nil, err
	}
	if length < e.size {
		return nil, fmt.Errorf("%d bytes, its clusters hold %d", e.size, length)
	}
	n.Blob = tree.NewPieces(o.r, cut(runs, e.size)...)
	return n, nil
}

// chain follows a chain of clusters and marks them as used, so no two chains
// meet and none goes on for ever. It gives runs of consecutive clusters and
// their length in bytes.
func (o *opener) chain(first uint32) (runs []tree.Piece, length int64, err error) {
	for c := first; c < endMarks; {
		if c < rootCluster || int64(c) >= o.clusters+rootCluster {
			return nil, 0, fmt.Errorf("cluster %d does not exist", c)
		}
		if o.used[c/64]>>(c%64)&1 != 0 {
			return nil, 0, fmt.Errorf("cluster %d is used twice", c)
		}
		o.used[c/64] |= 1 << (c % 64)
		if n := len(runs); n > 0 && runs[n-1].Offset+runs[n-1].Size == o.offset(c) {
			runs[n-1].Size += o.clusterSize()
		} else {
			runs = append(runs, tree.Piece{Offset: o.offset(c), Size: o.clusterSize()})
		}
		length += o.clusterSize()
		if c, err = o.follow(c); err != nil {
			return nil, 0, err
		}
	}
	if length == 0 {
		return nil, 0, fmt.Errorf("cluster %d does not exist", first)
	}
	return runs, length, nil
}

// cut gives the pieces of the first size bytes of runs that hold as many.
func cut(runs []tree.Piece, size int64) []tree.Piece {
	for i := range runs {
		if size <= runs[i].Size {
			runs[i].Size = size
			return runs[:i+1]
		}
		size -= runs[i].Size
	}
	return runs
}

// place says where a byte of the content of runs lies.
func place(runs []tree.Piece, at int64) int64 {
	for _, run := range runs {
		if at < run.Size {
			return run.Offset + at
		}
		at -= run.Size
	}
	return -1
}

// follow reads a FAT entry from the first FAT.
func (o *opener) follow(cluster uint32) (uint32, error) {
	at := int64(cluster) * 4
	if at < o.at || at >= o.at+int64(len(o.window)) {
		const size = 64 << 10
		start := at / size * size
		window := make([]byte, min(size, o.fat*o.sector-start))
		if err := readFull(o.r, window, o.reserved*o.sector+start, o.sectors*o.sector); err != nil {
			return 0, fmt.Errorf("read FAT: %w", err)
		}
		o.at, o.window = start, window
	}
	return binary.LittleEndian.Uint32(o.window[at-o.at:]) & entryMask, nil
}

// readFull fills b from the first size bytes of r.
func readFull(r io.ReaderAt, b []byte, off, size int64) error {
	if off > size || int64(len(b)) > size-off {
		return fmt.Errorf("bytes %d to %d are outside of the file system's %d",
			off, off+int64(len(b)), size)
	}
	if n, err := r.ReadAt(b, off); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read at %d: %w", off, err)
	}
	return nil
}

// validName says whether a name read from a directory can be a file's.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}
