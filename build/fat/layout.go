package fat

import (
	"fmt"
	"path"

	"slipway/build/tree"
)

// entry is a directory or file with its place.
type entry struct {
	node     *tree.Node
	path     string
	short    [11]byte
	long     bool
	parent   *entry
	children []*entry
	names    *names // of a directory
	size     int64  // bytes of content
	first    uint32 // cluster, 0 if there is no content
	clusters uint32
	date     uint16
	clock    uint16
}

// geometry is where things are, in sectors unless it says otherwise.
type geometry struct {
	sector     int64 // bytes
	sectors    int64
	perCluster int64
	reserved   int64
	fat        int64 // size of one FAT
	data       int64 // first sector of cluster 2
	clusters   int64
	root       uint32 // first cluster of the root directory
	copies     int64  // FATs
	info       int64  // sector with the free space information, 0 if there is none
	single     bool   // only one of the FATs is in use
}

// clusterSize is in bytes.
func (g *geometry) clusterSize() int64 { return g.sector * g.perCluster }

// offset is where a cluster lies, in bytes.
func (g *geometry) offset(cluster uint32) int64 {
	return (g.data + int64(cluster-rootCluster)*g.perCluster) * g.sector
}

// newGeometry picks the largest clusters up to 4 KiB that leave enough of them
// to be FAT32; from 8 GiB on clusters grow so that the FAT stays small.
func newGeometry(size, sector int64) (*geometry, error) {
	if sector != 512 && sector != 1024 && sector != 2048 && sector != 4096 {
		return nil, fmt.Errorf("sector size %d is not 512, 1024, 2048 or 4096", sector)
	}
	if size < 0 || size%sector != 0 || size/sector > 1<<32-1 {
		return nil, fmt.Errorf("size %d is not up to 2^32-1 sectors of %d bytes", size, sector)
	}
	largest := int64(4096)
	for largest < 32768 && size/largest > 1<<21 {
		largest *= 2
	}
	for cluster := largest; cluster >= sector; cluster /= 2 {
		// A few clusters more than the limit: some readers count wrongly.
		if g := fit(size, sector, cluster); g.clusters >= minClusters+16 && g.clusters <= maxClusters {
			return g, nil
		}
	}
	g := fit(size, sector, sector)
	if g.clusters >= minClusters && g.clusters <= maxClusters {
		return g, nil
	}
	return nil, fmt.Errorf("size %d gives %d clusters, FAT32 has %d to %d",
		size, max(g.clusters, 0), minClusters, maxClusters)
}

// fit finds the smallest FAT for a cluster size. Data starts on a multiple of
// 4 KiB.
func fit(size, sector, cluster int64) *geometry {
	g := &geometry{sector: sector, sectors: size / sector,
		perCluster: cluster / sector, root: rootCluster, copies: fatCopies, info: infoSector}
	unit := max(4096/sector, 1)
	for {
		g.reserved = minReserved
		end := g.reserved + fatCopies*g.fat
		g.reserved += -end & (unit - 1)
		g.data = g.reserved + fatCopies*g.fat
		g.clusters = (g.sectors - g.data) / g.perCluster
		need := ((g.clusters+rootCluster)*4 + sector - 1) / sector
		if g.clusters <= 0 || need <= g.fat {
			return g
		}
		g.fat = need
	}
}

// volume is everything Write needs to know before the first byte is written.
type volume struct {
	*geometry
	opts    *Options
	date    uint16
	clock   uint16
	label   [11]byte
	entries []*entry // in path order, the root first
	next    uint32   // first free cluster
}

func plan(size int64, t *tree.Tree, opts *Options) (*volume, error) {
	sector := opts.SectorSize
	if sector == 0 {
		sector = 512
	}
	g, err := newGeometry(size, sector)
	if err != nil {
		return nil, err
	}
	v := &volume{geometry: g, opts: opts}
	if v.date, v.clock, err = dosTime(opts.Time); err != nil {
		return nil, err
	}
	if v.label, err = packLabel(opts.Label); err != nil {
		return nil, err
	}
	if err := v.addEntries(t); err != nil {
		return nil, err
	}
	return v, v.place()
}

func (v *volume) addEntries(t *tree.Tree) error {
	dirs := map[string]*entry{}
	for p, n := range t.All() {
		e := &entry{node: n, path: p, date: v.date, clock: v.clock}
		switch n.Type {
		case tree.Dir:
			dirs[p], e.names = e, newNames()
		case tree.File:
			e.size = n.Size()
			if e.size > maxFileSize {
				return fmt.Errorf("file /%s: %d bytes, limit %d", p, e.size, int64(maxFileSize))
			}
		default:
			return fmt.Errorf("path /%s: a %s cannot be on FAT", p, n.Type)
		}
		v.entries = append(v.entries, e)
		if p == "." {
			if n.Type != tree.Dir {
				return fmt.Errorf("path /: is a %s, not a directory", n.Type)
			}
			continue
		}
		e.parent = dirs[path.Dir(p)]
		if e.parent == nil {
			return fmt.Errorf("path /%s: its parent is not a directory", p)
		}
		var err error
		if e.short, e.long, err = e.parent.names.claim(path.Base(p)); err != nil {
			return fmt.Errorf("path /%s: %w", p, err)
		}
		e.parent.children = append(e.parent.children, e)
	}
	return nil
}

// place gives every entry consecutive clusters. Directories come first, so
// that reading the tree touches one place.
func (v *volume) place() error {
	next := int64(rootCluster)
	give := func(e *entry) {
		if n := (e.size + v.clusterSize() - 1) / v.clusterSize(); n > 0 {
			e.first, e.clusters = uint32(min(next, maxClusters)), uint32(n)
			next += n
		}
	}
	for _, e := range v.entries {
		if e.node.Type != tree.Dir {
			continue
		}
		count := 2 // "." and "..", or the label
		for _, c := range e.children {
			count += 1 + len(longEntries(c))/entrySize
		}
		if count > maxDirEntries {
			return fmt.Errorf("directory /%s: %d entries, limit %d", e.path, count, maxDirEntries)
		}
		e.size = int64(count) * entrySize
		give(e)
	}
	for _, e := range v.entries {
		if e.node.Type == tree.File {
			give(e)
		}
	}
	if used := next - rootCluster; used > v.clusters {
		return fmt.Errorf("contents need %d bytes, the volume holds %d: %d bytes too many",
			used*v.clusterSize(), v.clusters*v.clusterSize(), (used-v.clusters)*v.clusterSize())
	}
	v.next = uint32(next)
	return nil
}

func longEntries(e *entry) []byte {
	if !e.long {
		return nil
	}
	return encodeLong(path.Base(e.path), e.short)
}
