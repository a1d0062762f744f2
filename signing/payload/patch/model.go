package patch

import "math/bits"

// model codes the bytes of the new data, given the old bytes they were copied
// from. Its methods run in both directions: they read the new bytes when the
// coder encodes and fill them in when it decodes.
type model struct {
	c *coder

	// The latest differences (new minus old byte), by the place they are at;
	// an added byte counts as no difference.
	diffs [64]byte
	at    uint32
	since uint32 // bytes since the latest difference
	last  byte   // the latest difference that is not 0
	ago   uint32 // its place
	marks uint32 // bit i: byte at-1-i was different

	runs    []number // by the size of the run before
	lastRun int
	flag    *mixer // is this byte different?
	value   *mixer // what is the difference?

	likelyValue   *likely
	likelyLiteral *likely
	literal       *mixer
	history       uint64 // latest new bytes
}

// far is how many equal bytes in a row make the model count them instead of
// asking for each.
const far = 32

func newModel(c *coder, t *tables) *model {
	return &model{
		c: c, since: far,
		runs:          newNumbers(33),
		flag:          newMixer(t, 4, far, 18),
		value:         newMixer(t, 4, 64, 18),
		likelyValue:   newLikely(16),
		likelyLiteral: newLikely(18),
		literal:       newMixer(t, 4, 256, 19),
	}
}

func (m *model) past(n uint32) byte { return m.diffs[(m.at-n)&63] }

func (m *model) push(diff, b byte) {
	m.diffs[m.at&63] = diff
	m.marks <<= 1
	if diff != 0 {
		m.marks |= 1
		m.since = 0
		m.last = diff
		m.ago = m.at
	} else if m.since < far {
		m.since++
	}
	m.at++
	m.history = m.history<<8 | uint64(b)
}

// copied codes new bytes that are like as many old ones.
func (m *model) copied(fresh, old []byte) {
	for i := 0; i < len(fresh); {
		if m.since >= far {
			run := 0
			if !m.c.decoding() {
				for i+run < len(fresh) && fresh[i+run] == old[i+run] {
					run++
				}
			}
			run = int(m.c.number(&m.runs[m.lastRun], uint32(run)))
			m.lastRun = bits.Len32(uint32(run))
			run = min(run, len(fresh)-i)
			i = m.skip(fresh, old, i, run)
			if i < len(fresh) {
				m.differ(&fresh[i], old[i], old, i)
				i++
			}
			continue
		}
		if m.differs(fresh[i] != old[i], old, i) {
			m.differ(&fresh[i], old[i], old, i)
		} else {
			fresh[i] = old[i]
			m.push(0, old[i])
		}
		i++
	}
}

// skip passes over a run of equal bytes.
func (m *model) skip(fresh, old []byte, i, run int) int {
	copy(fresh[i:i+run], old[i:])
	end := i + run
	if run > 64 {
		m.at += uint32(run - 64)
		i = end - 64
	}
	for ; i < end; i++ {
		m.push(0, fresh[i])
	}
	return end
}

// around is the old byte at i and its neighbours.
func around(old []byte, i int) (here, before, before2, after uint32) {
	here = uint32(old[i])
	if i > 0 {
		before = uint32(old[i-1])
	}
	if i > 1 {
		before2 = uint32(old[i-2])
	}
	if i+1 < len(old) {
		after = uint32(old[i+1])
	}
	return here, before, before2, after
}

// differs codes whether the byte at i is different.
func (m *model) differs(is bool, old []byte, i int) bool {
	f := m.flag
	here, before, before2, after := around(old, i)
	p1, p2, p3, p4 := uint32(m.past(1)), uint32(m.past(2)), uint32(m.past(3)), uint32(m.past(4))
	p8, p16, p24 := uint32(m.past(8)), uint32(m.past(16)), uint32(m.past(24))
	f.base[0] = hash(2, p24|p8<<8|p16<<16, m.marks&7)
	f.base[1] = hash(3, here|before<<8|before2<<16, m.since)
	f.base[2] = hash(4, p1|p2<<8|p3<<16|p4<<24, here)
	f.base[3] = hash(6, before|here<<8|after<<16, uint32(m.last)|m.marks&15<<8)
	return f.bit(m.c, 1, int(m.since), boolBit(is)) != 0
}

// differ codes a difference that is known not to be 0.
func (m *model) differ(fresh *byte, was byte, old []byte, i int) {
	v := m.value
	here, before, before2, after := around(old, i)
	p1, p2, p3 := uint32(m.past(1)), uint32(m.past(2)), uint32(m.past(3))
	p8, p24 := uint32(m.past(8)), uint32(m.past(24))
	gap := min(m.at-m.ago, 63)
	v.base[0] = hash(11, p1|p2<<8|p3<<16, 0)
	v.base[1] = hash(12, p24|p1<<8|p8<<16, 0)
	v.base[2] = hash(13, uint32(m.last), gap)
	v.base[3] = hash(15, here|before<<8|before2<<16|after<<24, p1)
	diff := m.likelyValue.symbol(v, m.c, hash(17, p24|p1<<8|uint32(m.last)<<16, gap), int(gap), *fresh-was)
	*fresh = was + diff
	m.push(diff, *fresh)
}

// added codes new bytes that nothing old is like.
func (m *model) added(fresh []byte) {
	l := m.literal
	for i := range fresh {
		h := m.history
		l.base[0] = hash(22, uint32(h&0xff), 0)
		l.base[1] = hash(23, uint32(h&0xffff), 0)
		l.base[2] = hash(24, uint32(h&0xffffff), 0)
		l.base[3] = hash(26, uint32(h), uint32(h>>32)&0xffff)
		fresh[i] = m.likelyLiteral.symbol(l, m.c, hash(27, uint32(h), 0), int(h&0xff), fresh[i])
		m.push(0, fresh[i])
	}
}
