package delta

import (
	"fmt"
	"io"
	"sort"

	"slipway/signing/payload"
	"slipway/signing/payload/patch"
)

// maxPacked is the largest file in which compressed parts are looked for, in
// bytes.
const maxPacked = 128 << 20

// packed makes a task of the beginning of changed blocks if they belong to a
// file of large compressed parts, such as the one that machines boot from: a
// task for each part.
func (p *planner) packed(dst payload.Extent) (t task, ok bool, err error) {
	at := int64(dst.Start) * block
	i := sort.Search(len(p.pairs.files), func(i int) bool { return p.pairs.files[i].end() > at })
	if i == len(p.pairs.files) || p.pairs.files[i].Start > at || p.pairs.like[i] < 0 {
		return t, false, nil
	}
	f, old := p.pairs.files[i], p.pairs.old[p.pairs.like[i]]
	cuts, err := p.cuts(f, old)
	if err != nil || len(cuts) == 0 {
		return t, false, err
	}
	n := sort.Search(len(cuts)-1, func(n int) bool { return f.Start+cuts[n][1] > at })
	from, oldFrom := int64(0), int64(0)
	if n > 0 {
		from, oldFrom = cuts[n-1][1], cuts[n-1][0]
	}
	// A compressor's answer is made as a whole: so is the patch.
	end := min(f.Start+cuts[n][1], int64(dst.Start+dst.Blocks)*block)
	if at > f.Start+from && n > 0 || end < f.Start+cuts[n][1] {
		return t, false, nil
	}
	t = task{
		kind: payload.Patch, packed: true,
		src: []payload.Extent{extentOf(old.Start+oldFrom, cuts[n][0]-oldFrom)},
		dst: []payload.Extent{extentOf(at, end-at)},
	}
	return t, true, nil
}

// cuts says where to cut an old file and a new one, so that both fall into
// parts of one frame each: offsets of the ends of the parts. There are none
// unless both have as many frames.
func (p *planner) cuts(f, old File) ([][2]int64, error) {
	if cuts, ok := p.known[f.Path]; ok {
		return cuts, nil
	}
	fresh, err := frameEnds(p.New, f)
	if err != nil {
		return nil, fmt.Errorf("new image: %w", err)
	}
	var was []int64
	if len(fresh) > 0 {
		if was, err = frameEnds(p.Old, old); err != nil {
			return nil, fmt.Errorf("old image: %w", err)
		}
	}
	var cuts [][2]int64
	if len(was) == len(fresh) {
		for i := range fresh {
			cuts = append(cuts, [2]int64{was[i], fresh[i]})
		}
	}
	p.known[f.Path] = cuts
	return cuts, nil
}

// frameEnds gives, for each large frame in a file, the end of the block it
// ends in; for the last one the end of the file.
func frameEnds(r io.ReaderAt, f File) ([]int64, error) {
	if f.Size > maxPacked || f.Size < 1<<20 {
		return nil, nil
	}
	data := make([]byte, f.Size)
	if n, err := r.ReadAt(data, f.Start); n < len(data) {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	frames := patch.Frames(data)
	var ends []int64
	for i, frame := range frames {
		end := int64(frame[1]+block-1) / block * block
		if i == len(frames)-1 {
			end = f.end() - f.Start
		} else if end > int64(frames[i+1][0]) {
			return nil, nil
		}
		ends = append(ends, end)
	}
	return ends, nil
}
