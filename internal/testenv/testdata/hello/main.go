// Command hello is what the tests of testenv build and run.
package main

import "fmt"

func main() { fmt.Println("hello") }
