package unpack

// DecodeIndex reads the "tree" file of a cache entry and writes it again.
func DecodeIndex(index []byte) ([]byte, error) {
	body, size, err := decodeHead(index)
	if err != nil {
		return nil, err
	}
	p, err := decodeBody(body, size, &dataFile{})
	if err != nil {
		return nil, err
	}
	return encodeIndex(p, size), nil
}

// DecodeBody reads the body of an index whose digest is not checked.
func DecodeBody(body []byte) error {
	_, err := decodeBody(body, 1<<40, &dataFile{})
	return err
}

// IndexHeadSize is where the body begins.
const IndexHeadSize = indexHeadSize
