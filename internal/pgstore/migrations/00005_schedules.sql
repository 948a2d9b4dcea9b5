-- +goose Up
-- Nothing ever used it: runs that repeat are not offered.
DROP TABLE schedules;
