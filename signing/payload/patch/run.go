package patch

import (
	"cmp"
	"slices"
	"sort"
)

// run makes new data, or codes it, from the front to the end. Places are those
// of the new data with its frames taken apart.
type run struct {
	c        *coder
	m        *model
	old      *view
	segments []segment
	starts   []uint32 // of the segments in the new data
	byOld    []uint32 // segments by their place in the old data

	at         int    // segment
	done       uint32 // bytes of it
	place      int64
	from       []byte
	marks      []uint64 // four bytes each: is any of them not as in the old data?
	mapped     int      // segment that oldOf found last
	mappedBack int      // place in byOld that newOf found last
}

func newRun(c *coder, t *tables, old *view, segments []segment) *run {
	return &run{c: c, m: newModel(c, t), old: old, segments: segments, from: make([]byte, piece)}
}

// mapSegments prepares oldOf, newOf and changed.
func (r *run) mapSegments(size int64) {
	r.starts = make([]uint32, len(r.segments))
	r.byOld = make([]uint32, len(r.segments))
	at := uint32(0)
	for i, s := range r.segments {
		r.starts[i], r.byOld[i] = at, uint32(i)
		at += s.copied + s.added
	}
	slices.SortFunc(r.byOld, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(r.segments[a].old, r.segments[b].old), cmp.Compare(a, b))
	})
	r.marks = make([]uint64, size/256+1)
}

// fill makes the next bytes of the new data, or codes them.
func (r *run) fill(b []byte) error {
	for len(b) > 0 {
		if r.at == len(r.segments) {
			return errShort
		}
		s := &r.segments[r.at]
		if r.done == s.copied+s.added {
			r.at, r.done = r.at+1, 0
			continue
		}
		n := 0
		if r.done < s.copied {
			n = min(len(b), int(s.copied-r.done), piece)
			from := r.from[:n]
			if err := r.old.readAt(from, int64(s.old)+int64(r.done)); err != nil {
				return err
			}
			r.m.copied(b[:n], from)
			if r.marks != nil {
				for i := range from {
					if from[i] != b[i] {
						r.mark(r.place + int64(i))
					}
				}
			}
		} else {
			n = min(len(b), int(s.copied+s.added-r.done))
			r.m.added(b[:n])
			if r.marks != nil {
				for i := range n {
					r.mark(r.place + int64(i))
				}
			}
		}
		b = b[n:]
		r.done += uint32(n)
		r.place += int64(n)
		if r.c.err != nil {
			return r.c.err
		}
	}
	return nil
}

func (r *run) mark(place int64) { r.marks[place/256] |= 1 << (place / 4 % 64) }

// changed judges n bytes from a place on: 0 for as in the old data, up to 3 for
// many changes.
func (r *run) changed(place, n int64) uint32 {
	count := uint32(0)
	for at := max(place, 0) / 4; at <= (place+n-1)/4 && at/64 < int64(len(r.marks)); at++ {
		if r.marks[at/64]&(1<<(at%64)) != 0 {
			if count++; count == 3 {
				break
			}
		}
	}
	return count
}

// oldOf gives the place in the old data that a new one comes from, or would
// come from if the copy before it went on.
func (r *run) oldOf(place int64) int64 {
	if len(r.segments) == 0 {
		return -1
	}
	i := r.mapped
	if i >= len(r.starts) || int64(r.starts[i]) > place {
		i = sort.Search(len(r.starts), func(i int) bool { return int64(r.starts[i]) > place }) - 1
	}
	for i+1 < len(r.starts) && int64(r.starts[i+1]) <= place {
		i++
	}
	r.mapped = i
	return int64(r.segments[i].old) + place - int64(r.starts[i])
}

// newOf gives the new place that an old one goes to.
func (r *run) newOf(place int64) int64 {
	if len(r.segments) == 0 {
		return -1
	}
	i := r.mappedBack
	start := func(i int) int64 { return int64(r.segments[r.byOld[i]].old) }
	if i >= len(r.byOld) || start(i) > place || i+1 < len(r.byOld) && start(i+1) <= place {
		i = max(sort.Search(len(r.byOld), func(i int) bool { return start(i) > place })-1, 0)
		r.mappedBack = i
	}
	s := r.byOld[i]
	return int64(r.starts[s]) + place - int64(r.segments[s].old)
}
