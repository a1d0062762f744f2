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
	n := sort.Search(len(cuts)-1, func(n int) bool { return f.Start+cuts[n].end > at })
	oldFrom := int64(0)
	if n > 0 {
		oldFrom = cuts[n-1].oldEnd
	}
	// A compressor's answer is made as a whole: so is the patch.
	end := min(f.Start+cuts[n].end, int64(dst.Start+dst.Blocks)*block)
	if at > f.Start+cuts[n].start || end < f.Start+cuts[n].stop {
		return t, false, nil
	}
	t = task{
		kind: payload.Patch, packed: true,
		src: []payload.Extent{extentOf(old.Start+oldFrom, cuts[n].oldEnd-oldFrom)},
		dst: []payload.Extent{extentOf(at, end-at)},
	}
	return t, true, nil
}

// cut is where a part of a file ends that holds one frame.
type cut struct {
	start, stop int64 // of the frame, in the new file
	end, oldEnd int64 // of the part, in the new file and in the old one
}

// cuts says where to cut an old file and a new one, so that both fall into
// parts of one frame each. There are none unless both have as many frames.
func (p *planner) cuts(f, old File) ([]cut, error) {
	if cuts, ok := p.known[f.Path]; ok {
		return cuts, nil
	}
	cuts, err := frameCuts(p.New, f)
	if err != nil {
		return nil, fmt.Errorf("new image: %w", err)
	}
	if len(cuts) > 0 {
		was, err := frameCuts(p.Old, old)
		if err != nil {
			return nil, fmt.Errorf("old image: %w", err)
		}
		if len(was) != len(cuts) {
			was, cuts = nil, nil
		}
		for i := range was {
			cuts[i].oldEnd = was[i].end
		}
	}
	p.known[f.Path] = cuts
	return cuts, nil
}

// frameCuts gives, for each large frame in a file, a cut at the end of the
// block it ends in; the last part goes on to the end of the file.
func frameCuts(r io.ReaderAt, f File) ([]cut, error) {
	if f.Size > maxPacked || f.Size < 1<<20 {
		return nil, nil
	}
	data := make([]byte, f.Size)
	if n, err := r.ReadAt(data, f.Start); n < len(data) {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	frames := patch.Frames(data)
	var cuts []cut
	for i, frame := range frames {
		end := int64(frame[1]+block-1) / block * block
		if i == len(frames)-1 {
			end = f.end() - f.Start
		} else if end > int64(frames[i+1][0]) {
			return nil, nil
		}
		cuts = append(cuts, cut{start: int64(frame[0]), stop: int64(frame[1]), end: end})
	}
	return cuts, nil
}
