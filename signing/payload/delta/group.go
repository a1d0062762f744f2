package delta

import (
	"slices"
	"sort"

	"slipway/signing/payload"
)

// groups gathers changed blocks into tasks: those with sources and those
// without, as many into one as its size allows: what is alike in several then
// packs well.
type groups struct {
	patches, replaced task
	done              []task
}

func newGroups() *groups { return &groups{} }

// end is where the last block of the file ends.
func (f File) end() int64 { return (f.Start + f.Size + block - 1) / block * block }

// changed adds changed blocks to the tasks.
func (p *planner) changed(g *groups, dst payload.Extent) error {
	for dst.Blocks > 0 {
		part := p.pairs.part(dst)
		if t, ok, err := p.packed(part); err != nil {
			return err
		} else if ok {
			g.done = append(g.done, t)
			n := blocksOf(t.dst)
			dst.Start, dst.Blocks = dst.Start+n, dst.Blocks-n
			continue
		}
		dst.Start, dst.Blocks = dst.Start+part.Blocks, dst.Blocks-part.Blocks
		src := p.pairs.sources(part, p.OldSize)
		if len(src) == 0 {
			g.replaced.kind = payload.ReplaceZstd
			g.replaced.dst = appendExtent(g.replaced.dst, part)
			continue
		}
		if n := blocksOf(g.patches.dst); n > 0 && (n+part.Blocks > maxPatch/block || blocksOf(g.patches.src)+blocksOf(src) > 2*maxPatch/block) {
			g.flush()
		}
		g.patches.kind = payload.Patch
		g.patches.dst = appendExtent(g.patches.dst, part)
		g.patches.src = append(g.patches.src, src...)
	}
	return nil
}

// part is the beginning of an extent up to the end of the file it starts in,
// or to the start of one.
func (p *pairing) part(e payload.Extent) payload.Extent {
	at, end := int64(e.Start)*block, int64(e.Start+e.Blocks)*block
	i := sort.Search(len(p.files), func(i int) bool { return p.files[i].end() > at })
	if i < len(p.files) && p.files[i].Start > at {
		end = min(end, p.files[i].Start)
	} else if i < len(p.files) {
		end = min(end, p.files[i].end())
	}
	end = min(end, at+maxPatch)
	return payload.Extent{Start: e.Start, Blocks: uint64((end - at) / block)}
}

func (g *groups) flush() {
	if len(g.patches.dst) > 0 {
		g.patches.src = union(g.patches.src)
		g.done = append(g.done, g.patches)
	}
	g.patches = task{}
}

func (g *groups) close() []task {
	g.flush()
	if len(g.replaced.dst) > 0 {
		g.done = append(g.done, g.replaced)
	}
	return g.done
}

// union sorts extents and joins those that touch or overlap.
func union(all []payload.Extent) []payload.Extent {
	slices.SortFunc(all, func(a, b payload.Extent) int { return int(a.Start) - int(b.Start) })
	var joined []payload.Extent
	for _, e := range all {
		n := len(joined) - 1
		if n >= 0 && e.Start <= joined[n].Start+joined[n].Blocks {
			end := max(e.Start+e.Blocks, joined[n].Start+joined[n].Blocks)
			joined[n].Blocks = end - joined[n].Start
		} else {
			joined = append(joined, e)
		}
	}
	return joined
}
