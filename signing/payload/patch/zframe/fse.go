package zframe

import (
	"errors"
	"math/bits"
)

var errTable = errors.New("bad entropy table")

// maxSymbols is how many symbols the largest alphabet coded by states has.
const maxSymbols = 53

// fse is a table of finite state entropy: RFC 8878, section 4.1.
type fse struct {
	log    uint8 // of the number of states; 0 for a single symbol without bits
	counts []int16
	// To decode: for each state its symbol, how many bits to read, and what to
	// add to them for the next state.
	decode []fseState
	// To encode, made on first use.
	next   []uint16 // states, sorted by symbol
	symbol []fseSymbol
}

type fseState struct {
	symbol uint8
	bits   uint8
	base   uint16
}

type fseSymbol struct {
	deltaBits  uint32
	deltaState int32
}

// singleSymbol is the table that needs no bits.
func singleSymbol(s uint8) *fse { return &fse{decode: []fseState{{symbol: s}}} }

// readFSE parses a table description at the start of b and gives its length.
func readFSE(b []byte, maxLog uint8, symbols int) (*fse, int, error) {
	r := forward{b: b}
	log := uint8(r.bits(4)) + 5
	if log > maxLog {
		return nil, 0, errTable
	}
	t := &fse{log: log}
	for left := 1 << log; left > 0; {
		if len(t.counts) >= symbols {
			return nil, 0, errTable
		}
		// Values up to left + 1 take as few bits as they can.
		n := bits.Len(uint(left + 1))
		v := int(r.peek(n))
		low := v & (1<<(n-1) - 1)
		if short := 1<<n - 1 - (left + 1); low < short {
			v = low
			r.skip(n - 1)
		} else {
			if v >= 1<<(n-1) {
				v -= short
			}
			r.skip(n)
		}
		count := v - 1
		t.counts = append(t.counts, int16(count))
		left -= max(count, -count)
		if left < 0 {
			return nil, 0, errTable
		}
		for count == 0 {
			repeat := int(r.bits(2))
			if len(t.counts)+repeat > symbols {
				return nil, 0, errTable
			}
			t.counts = append(t.counts, make([]int16, repeat)...)
			if repeat < 3 {
				break
			}
		}
	}
	n := r.bytes()
	if n > len(b) {
		return nil, 0, errTable
	}
	return t, n, t.buildDecoder()
}

// spread gives the symbol of each state.
func (t *fse) spread() ([]uint8, error) {
	size := 1 << t.log
	symbols := make([]uint8, size)
	high := size - 1
	for s, n := range t.counts {
		if n == -1 {
			symbols[high] = uint8(s)
			high--
		}
	}
	step, mask, at := size>>1+size>>3+3, size-1, 0
	for s, n := range t.counts {
		for range n {
			symbols[at] = uint8(s)
			for at = (at + step) & mask; at > high; {
				at = (at + step) & mask
			}
		}
	}
	if at != 0 {
		return nil, errTable
	}
	return symbols, nil
}

func (t *fse) buildDecoder() error {
	symbols, err := t.spread()
	if err != nil {
		return err
	}
	var next [256]uint16
	for s, n := range t.counts {
		next[s] = uint16(max(n, -n))
	}
	t.decode = make([]fseState, len(symbols))
	for i, s := range symbols {
		x := next[s]
		next[s]++
		n := t.log - uint8(bits.Len16(x)-1)
		t.decode[i] = fseState{s, n, x<<n - uint16(len(symbols))}
	}
	return nil
}

func (t *fse) buildEncoder() error {
	if t.symbol != nil || t.log == 0 {
		return nil
	}
	symbols, err := t.spread()
	if err != nil {
		return err
	}
	size := len(symbols)
	start := make([]int, len(t.counts)+1)
	t.symbol = make([]fseSymbol, len(t.counts))
	for s, n := range t.counts {
		start[s+1] = start[s] + int(max(n, -n))
		switch {
		case n == 1 || n == -1:
			t.symbol[s] = fseSymbol{uint32(t.log)<<16 - uint32(size), int32(start[s] - 1)}
		case n > 1:
			most := uint32(t.log) - uint32(bits.Len16(uint16(n-1))-1)
			t.symbol[s] = fseSymbol{most<<16 - uint32(n)<<most, int32(start[s] - int(n))}
		}
	}
	t.next = make([]uint16, size)
	for i, s := range symbols {
		t.next[start[s]] = uint16(size + i)
		start[s]++
	}
	return nil
}

// has tells whether the table can code a symbol.
func (t *fse) has(s uint8) bool {
	if t.log == 0 {
		return t.decode[0].symbol == s
	}
	return int(s) < len(t.counts) && t.counts[s] != 0
}

// first gives the state that encodes the last symbol, at no cost.
func (t *fse) first(s uint8) uint32 {
	if t.log == 0 {
		return 0
	}
	x := t.symbol[s]
	n := (x.deltaBits + 1<<15) >> 16
	v := n<<16 - x.deltaBits
	return uint32(t.next[int32(v>>n)+x.deltaState])
}

// encode writes a symbol and gives the next state.
func (t *fse) encode(w *bitWriter, state uint32, s uint8) uint32 {
	if t.log == 0 {
		return 0
	}
	x := t.symbol[s]
	n := (state + x.deltaBits) >> 16
	w.add(uint64(state), uint(n))
	return uint32(t.next[int32(state>>n)+x.deltaState])
}
