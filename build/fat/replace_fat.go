package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

func (v *live) entry(cluster uint32) uint32 {
	return binary.LittleEndian.Uint32(v.table[int64(cluster)*4:]) & entryMask
}

// put sets an entry; its upper four bits are not ours.
func (v *live) put(cluster, value uint32) {
	b := v.table[int64(cluster)*4:]
	kept := binary.LittleEndian.Uint32(b) &^ entryMask
	binary.LittleEndian.PutUint32(b, kept|value)
}

// end is the first cluster number that does not exist.
func (v *live) end() uint32 { return uint32(v.clusters + rootCluster) }

func (v *live) isUsed(cluster uint32) bool { return v.used[cluster/64]>>(cluster%64)&1 != 0 }

func (v *live) mark(chain []uint32, used bool) {
	for _, c := range chain {
		if v.used[c/64] &^= 1 << (c % 64); used {
			v.used[c/64] |= 1 << (c % 64)
		}
	}
}

// available says whether a cluster may be taken: one that is free, or that
// belongs to nothing. A bad one stays what it is.
func (v *live) available(cluster uint32) bool {
	return !v.isUsed(cluster) && v.entry(cluster) != badCluster
}

// chainOf lists the clusters of a file whose chain is known to be sound.
func (v *live) chainOf(first uint32) ([]uint32, error) {
	var chain []uint32
	if first == 0 {
		return nil, nil
	}
	for c := first; c < endMarks; c = v.entry(c) {
		if c < rootCluster || c >= v.end() || int64(len(chain)) > v.clusters {
			return nil, fmt.Errorf("cluster %d does not exist", c)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// allocate chooses the clusters of a new chain: the first run of neighbours
// that is long enough, or else the lowest clusters there are.
func (v *live) allocate(size int64) ([]uint32, error) {
	need := (size + v.clusterSize() - 1) / v.clusterSize()
	chain := make([]uint32, 0, min(need, v.clusters))
	var lowest []uint32
	free := int64(0)
	for c := uint32(rootCluster); c < v.end() && int64(len(chain)) < need; c++ {
		if !v.available(c) {
			chain = chain[:0]
			continue
		}
		chain = append(chain, c)
		if free++; free <= need {
			lowest = append(lowest, c)
		}
	}
	switch {
	case int64(len(chain)) == need:
		return chain, nil
	case int64(len(lowest)) == need:
		return lowest, nil
	}
	return nil, fmt.Errorf("no room: content needs %d bytes, %d are free: %d bytes too many",
		need*v.clusterSize(), free*v.clusterSize(), (need-free)*v.clusterSize())
}

// link enters a chain.
func (v *live) link(chain []uint32) {
	for i, c := range chain {
		next := uint32(endOfChain)
		if i+1 < len(chain) {
			next = chain[i+1]
		}
		v.put(c, next)
	}
}

// free clears the entries of clusters that belong to nothing.
func (v *live) free() {
	for c := uint32(rootCluster); c < v.end(); c++ {
		if v.available(c) && v.entry(c) != 0 {
			v.put(c, 0)
		}
	}
}

// writeFATs makes every FAT what v.table is and writes only what differs.
func (v *live) writeFATs() error {
	const window = 64 << 10
	wrote := false
	have := make([]byte, window)
	for n := range v.copies {
		start := (v.reserved + n*v.fat) * v.sector
		for at := 0; at < len(v.table); at += window {
			want := v.table[at:min(at+window, len(v.table))]
			have = have[:len(want)]
			if err := readFull(v.dev, have, start+int64(at), v.sectors*v.sector); err != nil {
				return fmt.Errorf("read FAT: %w", err)
			}
			some, err := v.writeChanged(want, have, start+int64(at))
			if err != nil {
				return err
			}
			wrote = wrote || some
		}
	}
	if !wrote {
		return nil
	}
	return v.dev.Sync()
}

// writeChanged writes the pieces of want that are not as in have, neighbours
// in one write.
func (v *live) writeChanged(want, have []byte, off int64) (wrote bool, err error) {
	for from := 0; from < len(want); {
		to := from
		for to < len(want) && !bytes.Equal(want[to:to+piece], have[to:to+piece]) {
			to += piece
		}
		if to == from {
			from += piece
			continue
		}
		if _, err := v.dev.WriteAt(want[from:to], off+int64(from)); err != nil {
			return true, err
		}
		wrote, from = true, to
	}
	return wrote, nil
}

// writeInfo corrects the count of free clusters and the hint where to look for
// one. They are hints: a sector that is not what it should be is left alone.
func (v *live) writeInfo() error {
	if v.info == 0 || v.info >= v.reserved {
		return nil
	}
	b := make([]byte, piece)
	at := v.info * v.sector
	if err := readFull(v.dev, b, at, v.sectors*v.sector); err != nil {
		return err
	}
	if string(b[:4]) != "RRaA" || string(b[484:488]) != "rrAa" {
		return nil
	}
	free, next := uint32(0), uint32(0xFFFFFFFF)
	for c := v.end() - 1; c >= rootCluster; c-- {
		if v.entry(c) == 0 {
			free, next = free+1, c
		}
	}
	le := binary.LittleEndian
	if le.Uint32(b[488:]) == free && le.Uint32(b[492:]) == next {
		return nil
	}
	le.PutUint32(b[488:], free)
	le.PutUint32(b[492:], next)
	if _, err := v.dev.WriteAt(b, at); err != nil {
		return err
	}
	return v.dev.Sync()
}
