package footer

import (
	"context"
	"encoding/binary"
	"encoding/json"
)

// Assemble signs a body as it is, sensible or not, and returns the block.
func Assemble(body []byte, s Signer) []byte {
	block := make([]byte, Size)
	copy(block, Magic)
	binary.LittleEndian.PutUint32(block[8:], Version)
	binary.LittleEndian.PutUint32(block[12:], uint32(len(body)))
	signature, err := s.SignDigest(context.Background(), digest(block[:headerSize], body))
	if err != nil {
		panic("internal error: " + err.Error())
	}
	tail, err := json.Marshal([]Signature{{KeyID: s.KeyID(), Algorithm: s.Algorithm(), Signature: signature}})
	if err != nil {
		panic("internal error: " + err.Error())
	}
	binary.LittleEndian.PutUint32(block[16:], uint32(len(tail)))
	copy(block[headerSize:], body)
	copy(block[headerSize+len(body):], tail)
	return block
}
