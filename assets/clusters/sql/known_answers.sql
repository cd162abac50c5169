SELECT question_digest, answer
FROM catalog.judge_answers
WHERE judge = :judge AND question_digest = ANY (:digests)
