// Package archtest keeps the shape of the code: who may import whom, who may
// use which technology, and what no file may contain. The rules are tables in
// rules_test.go, each with its reason. To change the shape, change the table in
// the same commit and say why there; a change of direction needs an ADR.
package archtest
