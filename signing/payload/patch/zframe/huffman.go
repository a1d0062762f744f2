package zframe

import "math/bits"

const (
	maxHuffmanLog = 11
	weightLog     = 6
)

// huffman is a prefix code of literals: RFC 8878, section 4.2.
type huffman struct {
	log    uint8
	length [256]uint8  // bits of a symbol's code, 0 if it has none
	code   [256]uint16 // see buildCodes
	decode []huffmanCell
}

type huffmanCell struct{ symbol, length uint8 }

// readHuffman parses a tree description at the start of b and gives its length.
func readHuffman(b []byte) (*huffman, int, error) {
	if len(b) == 0 {
		return nil, 0, errTable
	}
	var weights []uint8
	n := int(b[0])
	if n >= 128 {
		count := n - 127
		n = (count + 1) / 2
		if len(b) < 1+n {
			return nil, 0, errTable
		}
		for i := range count {
			weights = append(weights, b[1+i/2]>>(4-i%2*4)&15)
		}
	} else {
		if len(b) < 1+n {
			return nil, 0, errTable
		}
		var err error
		if weights, err = readWeights(b[1 : 1+n]); err != nil {
			return nil, 0, err
		}
	}
	h, err := newHuffman(weights)
	return h, 1 + n, err
}

// readWeights decodes weights coded by two states in turn.
func readWeights(b []byte) ([]uint8, error) {
	t, n, err := readFSE(b, weightLog, 256)
	if err != nil {
		return nil, err
	}
	r, err := newBackward(b[n:])
	if err != nil {
		return nil, err
	}
	state := [2]uint64{r.bits(uint(t.log)), r.bits(uint(t.log))}
	if r.left < 0 {
		return nil, errTable
	}
	var weights []uint8
	for i := 0; ; i ^= 1 {
		cell := t.decode[state[i]]
		weights = append(weights, cell.symbol)
		if len(weights) > 254 {
			return nil, errTable
		}
		if r.left < int(cell.bits) {
			return append(weights, t.decode[state[i^1]].symbol), nil
		}
		state[i] = uint64(cell.base) + r.bits(uint(cell.bits))
	}
}

// newHuffman makes the code; the last symbol's weight is what is left.
func newHuffman(weights []uint8) (*huffman, error) {
	sum := 0
	for _, w := range weights {
		if w > maxHuffmanLog {
			return nil, errTable
		}
		if w > 0 {
			sum += 1 << (w - 1)
		}
	}
	if sum == 0 || len(weights) > 255 {
		return nil, errTable
	}
	h := &huffman{log: uint8(bits.Len(uint(sum)))}
	rest := 1<<h.log - sum
	if h.log > maxHuffmanLog || rest&(rest-1) != 0 {
		return nil, errTable
	}
	weights = append(weights, uint8(bits.Len(uint(rest))))
	var perLength, next [maxHuffmanLog + 2]int
	for s, w := range weights {
		if w > 0 {
			h.length[s] = h.log + 1 - w
			perLength[h.length[s]]++
		}
	}
	for n, at := int(h.log), 0; n > 0; n-- {
		next[n] = at
		at = (at + perLength[n]) >> 1
	}
	h.decode = make([]huffmanCell, 1<<h.log)
	for s := range weights {
		n := h.length[s]
		if n == 0 {
			continue
		}
		h.code[s] = uint16(next[n])
		next[n]++
		first := int(h.code[s]) << (h.log - n)
		for i := range 1 << (h.log - n) {
			if first+i >= len(h.decode) {
				return nil, errTable
			}
			h.decode[first+i] = huffmanCell{uint8(s), n}
		}
	}
	return h, nil
}

// read decodes one stream that fills out.
func (h *huffman) read(b, out []byte) error {
	r, err := newBackward(b)
	if err != nil {
		return err
	}
	for i := range out {
		cell := h.decode[r.peek(uint(h.log))]
		out[i] = cell.symbol
		r.left -= int(cell.length)
	}
	if r.left != 0 {
		return errBits
	}
	return nil
}

// write encodes one stream.
func (h *huffman) write(w *bitWriter, literals []byte) error {
	for i := len(literals) - 1; i >= 0; i-- {
		s := literals[i]
		if h.length[s] == 0 {
			return errTable
		}
		w.add(uint64(h.code[s]), uint(h.length[s]))
	}
	w.close()
	return nil
}
