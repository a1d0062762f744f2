package zframe

import "encoding/binary"

// Writer puts a frame together.
type Writer struct {
	entropy
	bits bitWriter
	part bitWriter
}

// Append appends a block to out.
func (w *Writer) Append(out []byte, b *Block) ([]byte, error) {
	start := len(out)
	out = append(out, 0, 0, 0)
	size := b.Size
	var err error
	switch b.Type {
	case Raw, RLE:
		if b.Type == RLE && len(b.Literals) != 1 || b.Type == Raw && len(b.Literals) != size {
			return nil, errFrame
		}
		out = append(out, b.Literals...)
	case Compressed:
		if out, err = w.literals(out, b); err != nil {
			return nil, err
		}
		if out, err = w.sequences(out, b); err != nil {
			return nil, err
		}
		size = len(out) - start - 3
	default:
		return nil, errFrame
	}
	if size >= 1<<21 {
		return nil, errFrame
	}
	head := uint32(size)<<3 | uint32(b.Type)<<1
	if b.Last {
		head |= 1
	}
	out[start], out[start+1], out[start+2] = byte(head), byte(head>>8), byte(head>>16)
	return out, nil
}

func (w *Writer) literals(out []byte, b *Block) ([]byte, error) {
	literals := b.Literals
	if len(literals) > MaxBlock || b.LiteralsForm > 3 {
		return nil, errFrame
	}
	n := uint64(len(literals))
	if b.LiteralsType == Raw || b.LiteralsType == RLE {
		v := uint64(b.LiteralsType) | uint64(b.LiteralsForm)<<2
		switch b.LiteralsForm {
		case 0, 2:
			out = append(out, byte(uint64(b.LiteralsType)|uint64(b.LiteralsForm&1)<<2|n<<3))
			if b.LiteralsForm == 2 { // its upper bit belongs to the size
				return nil, errFrame
			}
		case 1:
			out = binary.LittleEndian.AppendUint16(out, uint16(v|n<<4))
		case 3:
			v |= n << 4
			out = append(out, byte(v), byte(v>>8), byte(v>>16))
		}
		if b.LiteralsType == Raw {
			return append(out, literals...), nil
		}
		if n == 0 {
			return nil, errFrame
		}
		return append(out, literals[0]), nil
	}
	if b.LiteralsType == Compressed {
		tree, used, err := readHuffman(b.Tree)
		if err != nil || used != len(b.Tree) {
			return nil, errTable
		}
		w.tree = tree
	} else if w.tree == nil {
		return nil, errTable
	}
	bits, bytes := literalsForm(b.LiteralsForm)
	w.part.out = append(w.part.out[:0], b.Tree...)
	if b.LiteralsForm == 0 {
		if err := w.tree.write(&w.part, literals); err != nil {
			return nil, err
		}
	} else if err := w.fourStreams(literals); err != nil {
		return nil, err
	}
	packed := uint64(len(w.part.out))
	if n >= 1<<bits || packed >= 1<<bits {
		return nil, errFrame
	}
	v := uint64(b.LiteralsType) | uint64(b.LiteralsForm)<<2 | n<<4 | packed<<(4+bits)
	for range bytes {
		out = append(out, byte(v))
		v >>= 8
	}
	return append(out, w.part.out...), nil
}

// literalsForm gives the bits of each size and the bytes of the header of
// Huffman coded literals.
func literalsForm(form uint8) (bits, bytes int) {
	switch form {
	case 2:
		return 14, 4
	case 3:
		return 18, 5
	}
	return 10, 3
}

func (w *Writer) fourStreams(literals []byte) error {
	jump := len(w.part.out)
	w.part.out = append(w.part.out, make([]byte, 6)...)
	each := (len(literals) + 3) / 4
	if each*3 > len(literals) {
		return errFrame
	}
	for i := range 4 {
		start := len(w.part.out)
		stream := literals[i*each:]
		if i < 3 {
			stream = stream[:each]
		}
		if err := w.tree.write(&w.part, stream); err != nil {
			return err
		}
		size := len(w.part.out) - start
		if size > 1<<16-1 {
			return errFrame
		}
		if i < 3 {
			binary.LittleEndian.PutUint16(w.part.out[jump+2*i:], uint16(size))
		}
	}
	return nil
}

func (w *Writer) sequences(out []byte, b *Block) ([]byte, error) {
	n := len(b.Sequences)
	switch {
	case n == 0:
		return append(out, 0), nil
	case n < 128:
		out = append(out, byte(n))
	case n < 0x7f00:
		out = append(out, byte(n>>8)+128, byte(n))
	case n < 0x7f00+1<<16:
		out = append(out, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	default:
		return nil, errFrame
	}
	if b.Modes&3 != 0 {
		return nil, errFrame
	}
	out = append(out, b.Modes)
	if err := w.setTables(b); err != nil {
		return nil, err
	}
	for k := range kinds {
		out = append(out, b.Tables[k]...)
		if err := w.tables[k].buildEncoder(); err != nil {
			return nil, err
		}
	}
	w.bits.out = w.bits.out[:0]
	var state [3]uint32
	for i := n - 1; i >= 0; i-- {
		s := b.Sequences[i]
		if s.Code == 0 || s.Match < 3 || s.Literals > MaxBlock || s.Match > MaxBlock {
			return nil, errFrame
		}
		ll, of, ml := literalCode(s.Literals), offsetCode(s.Code), matchCode(s.Match)
		if !w.tables[0].has(ll) || !w.tables[1].has(of) || !w.tables[2].has(ml) {
			return nil, errTable
		}
		if i == n-1 {
			state = [3]uint32{w.tables[0].first(ll), w.tables[1].first(of), w.tables[2].first(ml)}
		} else {
			state[1] = w.tables[1].encode(&w.bits, state[1], of)
			state[2] = w.tables[2].encode(&w.bits, state[2], ml)
			state[0] = w.tables[0].encode(&w.bits, state[0], ll)
		}
		w.bits.add(uint64(s.Literals), uint(literalBits[ll]))
		w.bits.add(uint64(s.Match-matchBase[ml]), uint(matchBits[ml]))
		w.bits.add(uint64(s.Code), uint(of))
	}
	for _, k := range []int{matchLengths, offsets, literalLengths} {
		w.bits.add(uint64(state[k]), uint(w.tables[k].log))
	}
	w.bits.close()
	return append(out, w.bits.out...), nil
}
