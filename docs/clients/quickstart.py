from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
question = [{"role": "user", "content": "Hello"}]

reply = client.chat.completions.create(model="gpt-4o", messages=question)
print(reply.choices[0].message.content)

for chunk in client.chat.completions.create(model="gpt-4o", messages=question, stream=True):
    print(chunk.choices[0].delta.content or "", end="")
