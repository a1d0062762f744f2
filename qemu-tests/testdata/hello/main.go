// Hello is all there is in the container image that the tests make.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("hello from a container: %v\n", os.Args[1:]) }
