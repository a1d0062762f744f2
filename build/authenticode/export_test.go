package authenticode

// Content is what a signature's message digest is of.
func Content(der []byte) ([]byte, error) {
	d, err := parseSignedData(der)
	if err != nil {
		return nil, err
	}
	return d.content, nil
}
