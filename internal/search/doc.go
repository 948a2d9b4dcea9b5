// Package search finds messages by their words: what users said and what agents
// answered, in all sessions of a tenant.
//
// What is found are the messages that a session's document has, of the roles
// user and assistant, sub-agents' among them, each at the seq of the event that
// completed it. Reasoning, tool calls, their answers, system messages, summaries
// and titles are not indexed; neither are answers to questions, or anything that
// belongs to an authorization. A rolled back run takes its messages along, a deleted
// session all of them in the transaction that records the deletion, and a fork has
// those that it inherits, for as long as it lives.
//
// The index is a projection of the archived log that may be behind and may be
// thrown away: the recorder's transaction notes in one row that a session has
// something new ([Marks]), and an [Indexer] reads that session from where it was
// last, some hundred milliseconds later. Sessions without a note, those of before
// the index among them, are found by a walk over all rows that goes on where it
// was and is repeated once a day. One process indexes at a time, by a lease; two
// that believe to have it do no harm, since progress is a compare-and-set.
//
// What a word is, what a query means and what of a message is shown is decided in
// this package, so that every [Store] gives the same answers:
//
//   - a word is a run of letters, digits and marks, in Unicode's compatibility form
//     and lower case, without stems and stop words of any language. Words of more
//     than 100 bytes count by their beginning;
//   - scripts that put no spaces between words (Chinese, Japanese, Thai and others)
//     and Korean are found by any part of a run of their characters;
//   - punctuation, symbols and emoji are no words and are not found;
//   - of a long message the first 16 KiB count;
//   - all words of a query must be in one message.
package search
